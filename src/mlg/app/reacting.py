"""Automations, put together over the control plane's parts."""

from collections.abc import Callable
from functools import cache

from mlg.adapters.notify_email import EmailNotifier
from mlg.adapters.notify_webhook import WebhookNotifier
from mlg.app.manifests import Manifests
from mlg.app.pipeline_runs import run_id_of, run_request
from mlg.app.proposals import Proposals
from mlg.app.reactor import Reactor
from mlg.app.rollout_acts import RolloutActs
from mlg.app.settings import Settings
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.ports import Files, GraphReader, GraphStore, Network, Notifier, Secrets
from mlg.graph.record import Recorder
from mlg.workflows.react import React, Reaction, ReactPorts, start_reaction
from mlg.workflows.train import Train, TrainRequest


def reactor_of(
    *,
    files: Files,
    clock: Clock,
    store: GraphStore,
    reader: GraphReader,
    network: Network,
    secrets: Secrets,
    settings: Settings,
    manifests: Manifests,
    train: Train,
    acts: RolloutActs,
    recorder: Callable[[str], Recorder],
    refresh: Callable[[], None],
) -> tuple[Reactor, Proposals]:
    """Return the follower of the event log, whose rules act durably, and their proposals.

    Args:
        files: The instance's small files.
        clock: For waiting.
        store: The event log.
        reader: Answers conditions' questions.
        network: Posts webhooks.
        secrets: Resolves passwords and signing keys at use.
        settings: Names the mail server.
        manifests: The rules in force.
        train: Runs pipelines.
        acts: Takes services back.
        recorder: Gives a recorder in the name of an actor.
        refresh: Makes the supervisor read the wanted state again.
    """

    def request(pipeline: str, key: str) -> TrainRequest:
        return run_request(manifests, files, pipeline, run_id_of(key))

    def rollback(service: str, by: str, reason: str, key: str) -> str:
        return str(acts.act(service, "rollback", by, reason, key=key)["rollout"])

    def restart(service: str, mark: str) -> None:
        mark_restart(files, manifests, service, mark)
        refresh()

    @cache
    def webhook(secret: str | None) -> Notifier:
        return WebhookNotifier(network, secrets, secret, clock, files)

    mail = EmailNotifier(settings.smtp, secrets, clock, files) if settings.smtp else None
    ports = ReactPorts(
        files=files,
        store=store,
        recorder=recorder,
        mail=mail,
        webhook=webhook,
        train_request=request,
        rollback=rollback,
        restart=restart,
    )
    react = React(ports, train)

    def start(reaction: Reaction) -> None:
        start_reaction(react, reaction)

    reactor = Reactor(
        files=files,
        clock=clock,
        store=store,
        reader=reader,
        spec=manifests.spec,
        start=start,
    )
    return reactor, Proposals(files, store, recorder, start)


def mark_restart(files: Files, manifests: Manifests, service: str, mark: str) -> None:
    """Mark a service's replicas to be replaced; the same mark again replaces none.

    Raises:
        NotFoundError: No such service.
    """
    spec = manifests.spec()
    if spec is None or service not in spec.services:
        raise NotFoundError(f"no service {service!r}", hint="mlg status lists them.")
    files.write(f"services/{service}/restart", mark.encode())
