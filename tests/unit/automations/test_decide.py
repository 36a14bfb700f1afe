import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mlg.automations.actions import message_of
from mlg.automations.check import check_automations, not_acting
from mlg.automations.decide import (
    Causes,
    Decision,
    Facts,
    Fired,
    Rule,
    actor_of,
    approved,
    causes_of,
    decide,
    rules_of,
)
from mlg.automations.freeze import Freeze, freeze_from_bytes, freeze_to_bytes
from mlg.core.errors import ManifestError
from mlg.core.ports import Message

ACTIONS = """\
    do:
      - restart: {service: home}
      - rollback: {service: home}
      - email: {to: [a@b.c, d@e.f], subject: "{rule}: fell by {event.data.drop}"}
      - webhook:
          url: "https://h/x"
          secret: secret://env/S
          payload: {drop: "{event.data.drop}", n: [1]}
      - retrain: {pipeline: ranker}
      - trigger_dev: {task: t, payload: {mode: diverse}}
      - layout: {service: home, layout: wide}
      - audit: {note: "drop {event.data.drop}, {event.data.none}, {{as is}}"}
"""


def rule(more: str = "autonomy: act", name: str = "guard") -> str:
    lines = "".join(f"    {line}\n" for line in more.split("\n"))
    return f"  {name}:\n    on: {{alert: confidence_drop}}\n{lines}{ACTIONS}"


@pytest.fixture
def answer(manifest: Any, event: Any, at: Any) -> Any:
    def answered(rules: str, happened: Any = None, **facts: Any) -> tuple[Decision, ...]:
        rules_in_force = rules_of(manifest(rules).spec)
        alert = happened or event(attrs={"kind": "confidence_drop", "drop": 0.25})
        return decide(rules_in_force, alert, Facts(now=at, **facts))

    return answered


def test_a_rule_that_may_act_does_what_can_be_done(answer: Any) -> None:
    (found,) = answer(rule())
    acting = [type(one).__name__ for one in found.commands if one.acts]
    assert found.outcome == "acts"
    assert acting == [
        "RestartService", "RollBackService", "SendEmail", "PostWebhook", "Retrain", "WriteNote",
    ]  # fmt: skip
    assert found.reason == "2 of 8 actions are held back"
    assert {one.why_not for one in found.commands if not one.acts} == {
        "tasks of Trigger.dev are not started yet",
        "layouts are not put in force yet",
    }


def test_texts_are_filled_from_the_event(answer: Any) -> None:
    commands = answer(rule())[0].commands
    assert (commands[2].to, commands[2].subject) == (("a@b.c", "d@e.f"), "guard: fell by 0.25")
    assert "drop: 0.25" in commands[2].body
    assert commands[3].body == '{"drop": "0.25", "n": [1]}'
    assert message_of(commands[2]) == Message(
        channel="email", to="a@b.c, d@e.f", subject="guard: fell by 0.25", body=commands[2].body
    )
    assert message_of(commands[3]).channel == "json"
    assert commands[7].note == "drop 0.25, (unknown), {as is}"


def test_the_same_answer_has_the_same_keys_and_no_two_acts_share_one(
    answer: Any, event: Any
) -> None:
    first, again = answer(rule()), answer(rule())
    other = answer(rule(), event(key="k2", attrs={"kind": "confidence_drop"}))
    assert first == again
    keys = [one.key for found in (first[0], other[0]) for one in found.commands]
    assert len(set(keys)) == 16
    # the rule's text has no part in it
    assert answer(rule("autonomy: act\ncooldown: 1h"))[0].key == first[0].key


def test_decisions_travel_as_json(answer: Any) -> None:
    (found,) = answer(rule())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Decision) == found


def test_rules_travel_as_json(manifest: Any) -> None:
    rules = rules_of(manifest(rule()).spec)
    assert msgspec.json.decode(msgspec.json.encode(rules), type=tuple[Rule, ...]) == rules


@pytest.mark.parametrize(
    ("autonomy", "outcome"), [("observe", "observed"), ("propose", "proposed")]
)
def test_less_autonomy_does_nothing_but_says_what_it_would(
    answer: Any, autonomy: str, outcome: str
) -> None:
    (found,) = answer(rule(f"autonomy: {autonomy}"))
    assert found.outcome == outcome
    assert len(found.commands) == 8
    assert not any(one.acts for one in found.commands)


def test_a_proposal_acts_once_approved(answer: Any) -> None:
    (proposal,) = answer(rule("autonomy: propose"))
    (acted,) = answer(rule())
    let = approved(proposal, "local:ada")
    assert (let.outcome, let.reason) == ("acts", "approved by local:ada")
    assert let.commands == acted.commands
    assert approved(acted, "local:ada") == acted


def test_frozen_only_a_rollback_acts(answer: Any, at: Any) -> None:
    freeze = Freeze(by="ada", at=at, reason="audit")
    (found,) = answer(rule(), freeze=freeze)
    assert [type(one).__name__ for one in found.commands if one.acts] == ["RollBackService"]
    assert found.commands[0].why_not == "frozen by ada: audit"
    one = (
        "  guard:\n    autonomy: act\n    on: {alert: any}\n"
        "    do: [{restart: {service: home}}]\n"
    )
    assert answer(one, freeze=freeze)[0].outcome == "frozen"
    (proposal,) = answer(one.replace("act\n", "propose\n", 1))
    assert approved(proposal, "ada", freeze).outcome == "frozen"


def test_a_condition_that_fails_is_an_outcome(answer: Any) -> None:
    (found,) = answer(rule("autonomy: act\nif: event.data.drop > 0.5"))
    assert (found.outcome, found.commands) == ("condition_false", ())
    (found,) = answer(rule("autonomy: act\nif: event.data.fall > 0.5"))
    assert (found.outcome, found.reason) == ("condition_error", "the event has no fact 'fall'")


@pytest.mark.parametrize(
    ("seconds_ago", "outcome"),
    [(0, "cooldown"), (599, "cooldown"), (600, "acts"), (601, "acts")],
)
def test_a_cooldown_counts_from_the_last_firing(
    answer: Any, at: Any, seconds_ago: int, outcome: str
) -> None:
    fired = (Fired(rule="guard", key="other", at=at - timedelta(seconds=seconds_ago)),)
    (found,) = answer(rule("autonomy: act\ncooldown: 10m"), fired=fired)
    assert found.outcome == outcome


def test_a_firing_does_not_hold_itself_back(answer: Any, at: Any) -> None:
    (found,) = answer(rule("autonomy: act\ncooldown: 10m"))
    fired = (Fired(rule="guard", key=found.key, at=at),)
    assert answer(rule("autonomy: act\ncooldown: 10m"), fired=fired) == (found,)


def test_another_rules_firings_do_not_count(answer: Any, at: Any) -> None:
    fired = (Fired(rule="other", key="x", at=at),)
    assert answer(rule("autonomy: act\ncooldown: 10m"), fired=fired)[0].outcome == "acts"


def test_only_so_many_firings_an_hour(answer: Any, at: Any) -> None:
    def fired(count: int, minutes: int) -> tuple[Fired, ...]:
        ago = timedelta(minutes=minutes)
        return tuple(
            Fired(rule="guard", key=f"{minutes}-{n}", at=at - ago) for n in range(count)
        )

    limited = rule("autonomy: act\nper_hour: 3")
    assert answer(limited, fired=fired(2, 59) + fired(5, 60))[0].outcome == "acts"
    (found,) = answer(limited, fired=fired(3, 59))
    assert (found.outcome, found.reason) == ("limited", "it fired 3 times within an hour")


def test_a_rule_does_not_answer_what_came_of_itself(answer: Any, event: Any) -> None:
    facts = {"attrs": {"kind": "confidence_drop"}}
    own = event(actor=actor_of("guard"), **facts)
    assert answer(rule(), own)[0].outcome == "loop"
    cause = event(key="k0", actor=actor_of("guard"))
    mid = event(key="k1", actor="workflow:train", cause=cause.id)
    late = event(key="k2", cause=mid.id, **facts)
    known = {one.id: one for one in (cause, mid)}
    assert causes_of(late, known.get).events == (mid, cause)
    assert answer(rule(), late, causes=causes_of(late, known.get))[0].outcome == "loop"


def test_other_rules_may_lead_to_it_but_not_in_a_long_row(answer: Any, event: Any) -> None:
    row = [event(key=f"c{n}", actor=actor_of(f"rule{n}")) for n in range(3)]
    assert answer(rule(), causes=Causes(events=tuple(row[:2])))[0].outcome == "acts"
    (found,) = answer(rule(), causes=Causes(events=tuple(row)))
    assert (found.outcome, found.reason) == ("loop", "3 rules in a row led to the event")


def test_a_circle_of_causes_ends(event: Any, answer: Any) -> None:
    one, two = event(key="a", cause="id-b"), event(key="b", cause="id-a")
    causes = causes_of(one, {"id-a": one, "id-b": two}.get)
    assert causes.cut
    facts = {"attrs": {"kind": "confidence_drop"}}
    assert answer(rule(), event(**facts), causes=causes)[0].outcome == "loop"
    assert not causes_of(one, lambda _: None).cut


def test_rules_answer_by_name_and_only_in_their_project(answer: Any, event: Any) -> None:
    two = rule(name="b") + rule(name="a")
    assert [found.rule for found in answer(two)] == ["a", "b"]
    foreign = event(project="others", attrs={"kind": "confidence_drop"})
    assert answer(two, foreign) == ()


def test_a_webhook_without_a_payload_tells_the_event(answer: Any) -> None:
    rules = "  guard:\n    autonomy: act\n    on: {alert: any}\n    do: [{webhook: {url: 'http://h'}}]\n"
    told = json.loads(answer(rules)[0].commands[0].body)
    assert told["rule"] == "guard"
    assert told["event"] == {
        "id": "id-k1",
        "type": "mlg.alert.opened",
        "at": "2026-01-02T03:04:05.000000Z",
        "actor": "system:monitors",
        "subject": "mlg://alert/mlg/movies/a1",
        "data": {"drop": 0.25, "kind": "confidence_drop"},
    }


def test_a_fact_cannot_add_a_header_or_a_name(answer: Any, event: Any) -> None:
    facts = {"kind": "confidence_drop", "drop": "x\r\nBcc: evil@x {event.subject}"}
    commands = answer(rule(), event(attrs=facts))[0].commands
    assert commands[2].subject == "guard: fell by x Bcc: evil@x {event.subject}"


def test_a_freeze_is_read_back_and_a_damaged_one_freezes(at: Any) -> None:
    freeze = Freeze(by="ada", at=at, reason="audit")
    assert freeze_from_bytes(freeze_to_bytes(freeze)) == freeze
    assert freeze_from_bytes(None) is None
    for damaged in (b"", b"{", b"\xff", b"{}", b"[" * 100_000):
        found = freeze_from_bytes(damaged)
        assert found is not None
        assert found.by == "unknown"


def test_a_rule_in_the_file_is_checked_with_its_place(manifest: Any) -> None:
    check_automations(manifest(rule()))
    assert [key for key, _, _ in not_acting(manifest(rule()))] == [
        "automations.guard.do[5].trigger_dev",
        "automations.guard.do[6].layout",
    ]
    wrong = rule("autonomy: act\nif: event.data.drop >").replace("{rule}:", "{rul}:")
    with pytest.raises(ManifestError) as caught:
        check_automations(manifest(wrong))
    error = caught.value
    assert error.where == "films.yaml:15:9"
    assert error.what == (
        "automations.guard.if: expected a CEL condition, got a mistake: mismatched input the "
        "end at column 18 of it"
    )
    assert (
        "films.yaml:19:46: automations.guard.do[2].email.subject: expected a text" in error.hint
    )
    assert "got {rul}" in error.hint


def test_a_mistake_in_a_folded_condition_names_its_line(manifest: Any) -> None:
    text = rule("autonomy: act\nif: |\n  event.data.drop > 1 &&\n    evnt.x")
    with pytest.raises(ManifestError, match="unknown name 'evnt' at line 2, column 3 of it"):
        check_automations(manifest(text))
