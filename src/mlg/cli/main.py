"""The `mlg` command: every group of commands, put together."""

import typer

from mlg.cli import (
    commands_alerts,
    commands_audit,
    commands_automations,
    commands_baseline,
    commands_bench,
    commands_catalogue,
    commands_chart,
    commands_drift,
    commands_experiment,
    commands_export,
    commands_gameday,
    commands_graph,
    commands_health,
    commands_hook,
    commands_image,
    commands_import,
    commands_instance,
    commands_manifest,
    commands_privacy,
    commands_providers,
    commands_render,
    commands_rollout,
    commands_simulate,
    commands_spool,
)
from mlg.cli.demo.command import demo

app = typer.Typer(
    name="mlg",
    help="Model Lifecycle Graph: one manifest in, a recommender that trains, ships and "
    "accounts for itself out.\n\nExit codes: 0 done, 1 a check said no, 2 manifest or usage, "
    "3 not found, 4 conflict, 5 backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
graph = typer.Typer(help="Care of the graph.", no_args_is_help=True)
imports = typer.Typer(help="Bring in what other systems recorded.", no_args_is_help=True)
imports.command("openlineage")(commands_import.openlineage)
imports.command("mlflow")(commands_providers.mlflow)
exports = typer.Typer(help="Tell other systems what the graph knows.", no_args_is_help=True)
exports.command("openlineage")(commands_export.openlineage)

spool = typer.Typer(help="Records that wait on disk to be sent.", no_args_is_help=True)
spool.command("list")(commands_spool.listing)
spool.command("replay")(commands_spool.replay)
audit = typer.Typer(help="The account: export a proof, verify the log.", no_args_is_help=True)

rollout = typer.Typer(help="A new version on its way to 100 %.", no_args_is_help=True)
rollout.command("status")(commands_rollout.status)
rollout.command("timeline")(commands_rollout.timeline)
rollout.command("start")(commands_rollout.start)
rollout.command("report")(commands_rollout.report)
rollout.command("pause")(commands_rollout.pause)
rollout.command("resume")(commands_rollout.resume)
rollout.command("promote")(commands_rollout.promote)
rollout.command("approve")(commands_rollout.approve)
rollout.command("rollback")(commands_rollout.rollback)

experiment = typer.Typer(help="Versions compared on viewers.", no_args_is_help=True)
experiment.command("list")(commands_experiment.listing)
experiment.command("status")(commands_experiment.status)
experiment.command("plan")(commands_experiment.plan)
experiment.command("start")(commands_experiment.start)
experiment.command("stop")(commands_experiment.stop)

image = typer.Typer(help="Images of models: build, verify, push.", no_args_is_help=True)
image.command("build")(commands_image.build)
image.command("inspect")(commands_image.inspect)
image.command("push")(commands_image.push)
image.command("verify")(commands_image.verify)

drift = typer.Typer(help="Drift: checks and control charts.", no_args_is_help=True)
drift.command("check")(commands_drift.check_tables)
drift.command("baseline")(commands_baseline.baseline)
drift.command("arl")(commands_chart.arl)
drift.command("design")(commands_chart.design)

simulate = typer.Typer(help="What something would do, before it is done.", no_args_is_help=True)
simulate.command("rollout")(commands_simulate.rollout)
hook = typer.Typer(help="Tell of commits whose tests passed.", no_args_is_help=True)
hook.command("send")(commands_hook.send)
hook.command("install")(commands_hook.install_hook)

automations = typer.Typer(help="Rules, and what they propose.", no_args_is_help=True)
automations.command("list")(commands_automations.listing)
automations.command("approve")(commands_automations.approve)
automations.command("dismiss")(commands_automations.dismiss)

alerts = typer.Typer(
    help="Alerts of monitors: who knows of them, and which page nobody.", no_args_is_help=True
)
alerts.command("list")(commands_alerts.listing)
alerts.command("show")(commands_alerts.show_one)
alerts.command("ack")(commands_alerts.ack)
alerts.command("handover")(commands_alerts.handover)
alerts.command("silence")(commands_alerts.silence)
alerts.command("unsilence")(commands_alerts.unsilence)
alerts.command("maintenance")(commands_alerts.maintenance)

renders = typer.Typer(help="Write what runs here for another place.", no_args_is_help=True)
renders.command("kubernetes")(commands_render.kubernetes)
renders.command("compose")(commands_render.compose)

app.command()(demo)
app.command()(commands_instance.up)
app.command()(commands_instance.down)
app.command()(commands_instance.status)
app.command()(commands_health.health)
app.command()(commands_instance.restart)
app.command()(commands_automations.freeze)
app.command()(commands_manifest.schema)
app.command()(commands_manifest.plan)
app.command()(commands_manifest.apply)
app.command()(commands_manifest.run)
app.command()(commands_graph.trace)
app.command()(commands_graph.impact)
app.command()(commands_graph.diff)
app.command()(commands_graph.why)
app.command()(commands_catalogue.unused)
app.command()(commands_catalogue.quality)
app.command()(commands_graph.production)
app.command()(commands_graph.search)
app.command()(commands_providers.providers)
app.command()(commands_privacy.erase)
app.command()(commands_privacy.gc)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    commands_bench.bench
)
app.command()(commands_gameday.gameday)
graph.command("rebuild")(commands_graph.rebuild)
graph.command("nodes")(commands_graph.nodes)
graph.command("events")(commands_graph.events)
audit.command("export")(commands_audit.export)
audit.command("verify")(commands_audit.verify_log)
app.add_typer(graph, name="graph")
app.add_typer(rollout, name="rollout")
app.add_typer(experiment, name="experiment")
app.add_typer(drift, name="drift")
app.add_typer(simulate, name="simulate")
app.add_typer(alerts, name="alerts")
app.add_typer(automations, name="automations")
app.add_typer(hook, name="hook")
app.add_typer(image, name="image")
app.add_typer(renders, name="render")
app.add_typer(imports, name="import")
app.add_typer(exports, name="export")
app.add_typer(spool, name="spool")
app.add_typer(audit, name="audit")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
