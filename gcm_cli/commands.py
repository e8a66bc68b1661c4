"""How the commands of `gcm` show their help, and what they say to arguments they do not take."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["Command", "Group", "hinting"]


class Command(TyperCommand):
    """A command whose help flows to the width of the terminal, and whose errors say how to mend them."""

    hint = ""
    """What to give in place of an argument too many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = _flowing(self.help)
        self.allow_extra_args = True  # answered below, with the hint

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See :class:`click.Command`."""
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            first, more = ctx.args[0], len(ctx.args) - 1
            told = f"{first}{f' and {more} more' if more else ''}"
            ctx.fail(f"Unexpected argument: {told}{f'; {self.hint}' if self.hint else ''}.")
        return rest

    def get_params(self, ctx: Any) -> list[Any]:
        """See :class:`click.Command`."""
        return _bare_flags(super().get_params(ctx))


class Group(TyperGroup):
    """`gcm` itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See :class:`click.Command`."""
        return _bare_flags(super().get_params(ctx))


def hinting(hint: str) -> type[Command]:
    """The class of a command that says `hint` where it gets an argument too many."""
    return type("HintingCommand", (Command,), {"hint": hint})


def _flowing(text: str | None) -> str | None:
    """Paragraphs without the line breaks of the source, which Typer would keep from the second one on."""
    if text is None:
        return None
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _bare_flags(parameters: list[Any]) -> list[Any]:
    """Flags without the name of a value, which newer Typer shows as if one were to be given."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
