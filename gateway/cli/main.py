"""The table of commands. A module is imported when its command runs, so that `tunegate version` is quick."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """A group that imports a command only when it runs or is asked for its own help.

    Args:
        table: name -> (where: "module:attribute", what it does in a line).
    """

    def __init__(self, table: Mapping[str, tuple[str, str]], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # passed on as they came
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import the command of this name; None where there is none."""
        if cmd_name not in self._table:
            return None
        module, _, attribute = self._table[cmd_name][0].partition(":")
        gc.disable()  # nothing of what is imported is garbage; looking through it took an eighth of the time
        try:
            command: click.Command = getattr(import_module(module), attribute)
        finally:
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._table.items()])


COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("gateway.cli.serve:serve", "Run a gateway."),
    "check-config": ("gateway.cli.check_config:check_config", "List every mistake of a configuration file."),
    "explain": ("gateway.cli.explain:explain", "Show what a call of a model would do now, and why."),
    "keys": ("gateway.cli.keys:keys", "Create, list, change, rotate and revoke virtual keys."),
    "aliases": ("gateway.cli.aliases:aliases", "List, change and roll back aliases."),
    "upstreams": ("gateway.cli.upstreams:upstreams", "List upstreams and how they are."),
    "sunset": ("gateway.cli.sunset:sunset", "Show when models end, and what serves then."),
    "usage": ("gateway.cli.usage:usage", "Show what was used and what it cost; export the records."),
    "cache": ("gateway.cli.cache:cache", "Show what the response cache saved; purge it."),
    "ledger": ("gateway.cli.ledger:ledger", "Check the counters of usage against the records."),
    "admin-key": ("gateway.cli.admin_key:admin_key", "Replace the admin key."),
    "doctor": ("gateway.cli.doctor:doctor", "Check everything that a gateway needs, and say what to do."),
    "version": ("gateway.cli.version:version", "Print the version."),
}

tunegate = LazyGroup(
    COMMANDS,
    name="tunegate",
    help="Tunegate, the OpenAI-compatible inference gateway for fine-tuned models.\n\n"
    "Commands that administer a running gateway find it by --url or TUNEGATE_ADMIN_URL "
    "(http://127.0.0.1:8081 by default) and need TUNEGATE_ADMIN_KEY.",
    no_args_is_help=True,
)


def main() -> None:
    """Entry point of the command `tunegate`."""
    tunegate(prog_name="tunegate")
