"""What all commands share: kubectl's flags, a session with the cluster, how to print, and what a failure looks like."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from churn_operator.cli.cluster import Cluster, Flags
from churn_operator.cli.failure import Failure
from churn_operator.cli.tree import line

EPILOG = (
    "Exit codes: 0 done, or as it should be; 1 no, or not in time; 2 not found, or not understood; "
    "3 not allowed; 4 no cluster answers."
)
WIDTH = 120
"""Columns where there is no terminal that says how many it has."""

app = typer.Typer(
    name="kubectl churn",
    help="Look at churn models that the churn-operator keeps, and say what it is to do with them.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """How to print."""

    Text = "text"
    Json = "json"


@dataclass(frozen=True)
class Session:
    """A cluster, and a place to print to."""

    cluster: Cluster
    json: bool

    @property
    def namespace(self) -> str:
        return self.cluster.namespace

    def show(self, document: Mapping[str, Any], drawn: RenderableType) -> None:
        """One JSON document, or the same for people."""
        if self.json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            _print(drawn, stderr=False)

    def note(self, drawn: RenderableType) -> None:
        """Something beside the answer: not in the way of who reads JSON."""
        _print(drawn, stderr=self.json)


def console(*, stderr: bool = False) -> Console:
    """Colours only for a terminal; elsewhere lines of a fixed width, unless COLUMNS says another."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH
    return Console(stderr=stderr, width=width, highlight=False)


def _print(drawn: RenderableType, *, stderr: bool) -> None:
    """A sentence is one line, however wide the place."""
    console(stderr=stderr).print(drawn, soft_wrap=isinstance(drawn, Text))


def _flag(name: str, annotation: Any, default: Any = None) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_FLAGS = (
    _flag(
        "namespace",
        Annotated[
            str | None,
            typer.Option(
                "--namespace", "-n", help="Where the model lives; else the context's namespace.", metavar="NAME"
            ),
        ],
    ),
    _flag("context", Annotated[str | None, typer.Option(help="Context of the kubeconfig to use.", metavar="NAME")]),
    _flag("kubeconfig", Annotated[str | None, typer.Option(help="Path of the kubeconfig to use.", metavar="FILE")]),
    _flag("user", Annotated[str | None, typer.Option("--as", help="User to act as, as kubectl can.", metavar="NAME")]),
    _flag(
        "output",
        Annotated[Format, typer.Option("--output", "-o", help="How to print.")],
        Format.Text,
    ),
)


def command(body: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A command of the app: with kubectl's flags, and a Session as the body's first argument."""
    own = list(signature(body).parameters.values())[1:]

    @wraps(body)
    def run(**arguments: Any) -> None:
        flags = Flags(*(arguments.pop(name) for name in ("kubeconfig", "context", "namespace", "user")))
        as_json = arguments.pop("output") is Format.Json
        try:
            asyncio.run(_with_session(body, flags, arguments, as_json=as_json))
        except Failure as failure:
            _print(line(str(failure)), stderr=True)
            raise typer.Exit(failure.code) from failure
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = Signature([*parameters, *_FLAGS])  # type: ignore[attr-defined] # typer looks at it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *_FLAGS)}
    return app.command(epilog=EPILOG)(run)


async def _with_session(
    body: Callable[..., Awaitable[None]], flags: Flags, arguments: Mapping[str, Any], *, as_json: bool
) -> None:
    cluster = await Cluster.connect(flags)
    try:
        await body(Session(cluster, as_json), **arguments)
    finally:
        await cluster.close()
