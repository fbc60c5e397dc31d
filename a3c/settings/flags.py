"""The flags of the command line, one per setting, and what is wrong with those that were typed.

Standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from a3c.errors import UsageError
from a3c.settings.config import Config, Setting, settings
from a3c.settings.other_words import DIFFERENT, SAME
from a3c.settings.values import did_you_mean, parse_whole, shown

TITLES = {
    "env": "environment",
    "learn": "learning",
    "explore": "exploration",
    "dqn": "deep Q-learning",
    "ppo": "proximal policy optimisation",
    "table": "tabular learning",
    "optim": "optimizer",
    "eval": "evaluation and checkpoints",
    "run": "run",
    "cluster": "several machines",
}
"""The groups of settings, as headings."""

INTRODUCTION = """\
Settings come, later wins, from the defaults here, the preset for the environment and algorithm, and the
flags. `--dry-run` prints the result and starts nothing. Times take `90`, `90s`, `10m`, `1.5h`, `2d` or
`1h30m`; counts take `1000`, `1e6` or `500k`. A flag may be written with underscores. The last column names
the algorithms that use a flag, where not all do. This page is written by `python -m a3c.settings.flags`."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are UsageErrors of one line, with the nearest flag for a mistyped one. A flag
    may be written with underscores, as variables are."""

    hints: Mapping[str, str] = {}
    """What to do about flags that other programs have, by name without dashes."""

    def __init__(self, prog: str, description: str, add_help: bool = True) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, add_help=add_help)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args([_dashed(word) for word in args], namespace)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Raises UsageError for the first flag with a wrong number of values, or for all unknown words."""
        options: argparse.Namespace
        options, unknown = self.parse_known_args(argv)
        mistakes = self.mistakes(unknown)
        if mistakes:
            raise UsageError("; ".join(mistakes))
        return options

    def mistakes(self, unknown: Sequence[str]) -> list[str]:
        """In words, what `parse_known_args` left over."""
        names = [word.partition("=")[0].lstrip("-") for word in unknown if word.startswith("-")]
        if names:
            return [f"--{name}: no such flag{self._hint(name)}" for name in names]
        return [f"{word}: a flag must come before it; see --help" for word in unknown]

    def _hint(self, name: str) -> str:
        if name in self.hints:
            return f"; {self.hints[name]}"
        return did_you_mean(name, [flag.lstrip("-") for flag in self._option_string_actions], "--")


def _dashed(word: str) -> str:
    """ "--num-steps=5" of "--num_steps=5"; other words as they are."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else word


def program(name: str) -> str:
    """What the user typed to start a subcommand: "python run.py" or "a3c run"."""
    script = Path(sys.argv[0]).name
    return f"python {script}" if script == f"{name}.py" else f"a3c {name}"


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number within bounds."""

    def parse_number(text: str) -> int:
        value = parse_whole(text)
        if not low <= value <= high:
            raise ValueError(f"{value} is not from {low} to {high}")
        return value

    return flag_value(parse_number)


def flag_value(parse_text: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of a flag whose text `parse_text` reads: argparse shows only the words of its own kind of
    error."""

    def convert(text: str) -> Any:
        try:
            return parse_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error

    return convert


def output_file(*endings: str) -> Callable[[str], Path]:
    """The type of a flag that names a file to write, with one of these endings if there are any."""

    def parse_path(text: str) -> Path:
        path = Path(text)
        if endings and path.suffix.lower() not in endings:
            raise ValueError(f"the name must end in {' or '.join(endings)}")
        if path.is_dir() or not path.name or not path.absolute().parent.is_dir():
            raise ValueError("name a file in a folder that exists")
        return path

    return flag_value(parse_path)


def _flag_help(s: Setting) -> str:
    default = _default(s)
    return s.help.replace("%", "%%") + (f" [default {default}]" if default else "")


def _default(s: Setting) -> str:
    """The default with its unit; empty where there is none, or where the help says what it depends on."""
    if s.default in (None, "", (), {}):
        return ""
    value = f"{s.default:g}" if isinstance(s.default, float) else shown(s.default)
    unit = "s" if s.kind == "duration" else s.unit
    return f"{value} {unit}".rstrip()


def device_number(text: str) -> str:
    """The number of "cuda:1", as --gpu-ids takes it: 1, and -1 of "cpu". The type of --device."""
    kind, colon, number = text.partition(":")
    if text == "cpu":
        return "-1"
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: write cpu, cuda or cuda:N; GPUs are named by number here")
    return number or "0"


def add_settings(parser: Parser) -> None:
    """Adds one flag per setting, in groups; what is not given stays out of the parsed namespace."""
    parser.hints = DIFFERENT
    parser.add_argument(
        "--device", dest="gpu_ids", nargs="+", type=device_number,
        default=argparse.SUPPRESS, help=argparse.SUPPRESS,
    )  # fmt: skip
    for group in dataclasses.fields(Config):
        section = parser.add_argument_group(TITLES[group.name])
        for s in settings().values():
            if s.group == group.name:
                _add_flag(section, s)


def _add_flag(section: Any, s: Setting) -> None:
    options: dict[str, Any] = {"dest": s.name, "default": argparse.SUPPRESS, "help": _flag_help(s)}
    if s.type is bool:
        options |= {"nargs": "?", "const": "True", "metavar": "True|False"}
    elif s.name == "load":
        options |= {"nargs": "?", "const": "True", "metavar": "PATH"}
    elif s.name == "env_kwargs":
        options |= {"nargs": "*", "metavar": "KEY=VALUE", "action": "extend"}
    elif s.type == tuple[int, ...]:
        options |= {"nargs": "*", "metavar": "N"}
    else:
        options["metavar"] = _metavar(s)
    section.add_argument(s.flag, **options)
    hidden = {"dest": s.name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    if elsewhere := [f"--{name}" for name, same in SAME.items() if same == s.name]:
        section.add_argument(*elsewhere, **options | hidden)
    if s.type is bool:
        section.add_argument("--no-" + s.flag[2:], action="store_const", const="False", **hidden)


_METAVARS = {"env": "ID", "run_dir": "DIR", "init_from": "FILE"}


def _metavar(s: Setting) -> str:
    if s.choices:
        return "{" + ",".join(s.choices) + "}"
    if s.kind:
        return {"duration": "TIME", "count": "COUNT"}[s.kind]
    return _METAVARS.get(s.name) or {int: "N", float: "X"}.get(s.type, "NAME")


def given_settings(namespace: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line, as typed; `--load True|False` in the old spelling too."""
    given = {k: v for k, v in vars(namespace).items() if k in settings()}
    load = given.get("load")
    if load is not None and load.lower() == "false":
        del given["load"]
    elif load is not None and load.lower() == "true":
        given["load"] = "newest"
    return given


def flags_page() -> str:
    """docs/flags.md: every flag with its default and meaning, in tables by group."""
    lines = ["# Every flag of `a3c run`", "", INTRODUCTION, ""]
    for group in dataclasses.fields(Config):
        lines += [f"## {TITLES[group.name].capitalize()}", ""]
        lines += ["| flag | default | meaning | of |", "|---|---|---|---|"]
        lines += [_row(s) for s in settings().values() if s.group == group.name]
        lines.append("")
    return "\n".join([*lines, *_other_words(), ""])


def _other_words() -> list[str]:
    """The tables of `a3c.settings.other_words`."""
    return [
        "## As other programs call them",
        "",
        "These mean the same and are taken; `--device cuda:1` is `--gpu-ids 1`, and `--device cpu` the CPU.",
        "",
        *_by_meaning({name: f"`{settings()[ours].flag}`" for name, ours in SAME.items()}),
        "",
        "These mean something else, or are not needed:",
        "",
        *_by_meaning(DIFFERENT),
    ]


def _by_meaning(table: Mapping[str, str]) -> list[str]:
    lines = ["| there | here |", "|---|---|"]
    for meaning in dict.fromkeys(table.values()):
        names = ", ".join(f"`--{name}`" for name in table if table[name] == meaning)
        lines.append(f"| {names} | {meaning} |")
    return lines


def _row(s: Setting) -> str:
    choices = f" (one of {', '.join(s.choices)})" if s.choices else ""
    text = f"{s.help}{choices}".replace("<", "&lt;")
    return f"| `{s.flag}` | {_default(s)} | {text} | {', '.join(s.algos)} |"


if __name__ == "__main__":
    Path("docs/flags.md").write_text(flags_page())
