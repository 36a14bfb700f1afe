"""The `mlg` command: every group of commands, put together."""

import typer

from mlg.cli import (
    commands_audit,
    commands_automations,
    commands_bench,
    commands_graph,
    commands_image,
    commands_import,
    commands_instance,
    commands_manifest,
    commands_rollout,
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

audit = typer.Typer(help="The account: export a proof, verify the log.", no_args_is_help=True)

rollout = typer.Typer(help="A new version on its way to 100 %.", no_args_is_help=True)
rollout.command("status")(commands_rollout.status)
rollout.command("pause")(commands_rollout.pause)
rollout.command("resume")(commands_rollout.resume)
rollout.command("promote")(commands_rollout.promote)
rollout.command("approve")(commands_rollout.approve)
rollout.command("rollback")(commands_rollout.rollback)

image = typer.Typer(help="Models and their images, as they were signed.", no_args_is_help=True)
image.command("verify")(commands_image.verify)

automations = typer.Typer(help="Rules, and what they propose.", no_args_is_help=True)
automations.command("list")(commands_automations.listing)
automations.command("approve")(commands_automations.approve)
automations.command("dismiss")(commands_automations.dismiss)

app.command()(demo)
app.command()(commands_instance.up)
app.command()(commands_instance.down)
app.command()(commands_instance.status)
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
app.command()(commands_graph.production)
app.command()(commands_graph.search)
app.command()(commands_bench.bench)
graph.command("rebuild")(commands_graph.rebuild)
audit.command("export")(commands_audit.export)
audit.command("verify")(commands_audit.verify_log)
app.add_typer(graph, name="graph")
app.add_typer(rollout, name="rollout")
app.add_typer(automations, name="automations")
app.add_typer(image, name="image")
app.add_typer(imports, name="import")
app.add_typer(audit, name="audit")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
