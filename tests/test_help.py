"""`--help` of every command: options in groups, each explained, within 80 columns."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from matnet import diff, env, eval, features, predict, run, show
from matnet.conversion_arguments import parser as convert_parser
from matnet.demo import __main__ as demo
from matnet.doctor import __main__ as doctor

PARSERS = {
    "convert": convert_parser,
    "demo": demo.parser,
    "diff": diff.parser,
    "doctor": doctor.parser,
    "env": env.parser,
    "eval": eval.parser,
    "predict": predict.parser,
    "run": run.parser,
    "show": show.parser,
}


@pytest.fixture(params=sorted(PARSERS))
def command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    monkeypatch.setenv("COLUMNS", "80")
    return PARSERS[request.param]()


def test_the_help_fits_80_columns(command: argparse.ArgumentParser) -> None:
    assert [line for line in command.format_help().splitlines() if len(line) > 80] == []


def test_every_option_is_explained(command: argparse.ArgumentParser) -> None:
    silent = [
        action.option_strings or action.dest
        for action in command._actions
        if action.help != argparse.SUPPRESS and len((action.help or "").split()) < 2
    ]
    assert not silent


@pytest.mark.parametrize("verb", ["convert", "doctor", "features", "predict", "run"])
def test_every_option_stands_in_a_page(verb: str) -> None:
    """Under one of its spellings, in a page that a person wrote."""
    parser = features.parser() if verb == "features" else PARSERS[verb]()
    docs = Path(__file__).resolve().parents[1] / "docs"
    text = "\n".join(page.read_text(encoding="utf-8") for page in docs.glob("*.md"))
    missing = [
        action.option_strings
        for action in parser._actions
        if action.option_strings and action.dest != "help"
        and action.help != argparse.SUPPRESS
        and not any(re.search(rf"{re.escape(option)}(?![\w-])", text) for option in action.option_strings)
    ]
    assert not missing


def test_what_every_command_takes_is_listed(command: argparse.ArgumentParser) -> None:
    known = {option for action in command._actions for option in action.option_strings}
    assert {"--help", "--debug", "--import"} <= known


def test_options_stand_in_groups(command: argparse.ArgumentParser) -> None:
    """At most a dozen outside the groups that have a title of their own."""
    loose = next(group for group in command._action_groups if group.title == "options")
    assert len(loose._group_actions) <= 12
