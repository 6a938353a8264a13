"""`--help` of every command: options in groups, each explained, within 80 columns."""

from __future__ import annotations

import argparse

import pytest

from matnet import diff, env, eval, predict, run, show
from matnet.conversion_arguments import parser as convert_parser
from matnet.doctor import __main__ as doctor

PARSERS = {
    "convert": convert_parser,
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


def test_what_every_command_takes_is_listed(command: argparse.ArgumentParser) -> None:
    known = {option for action in command._actions for option in action.option_strings}
    assert {"--help", "--debug", "--import"} <= known


def test_options_stand_in_groups(command: argparse.ArgumentParser) -> None:
    """At most a dozen outside the groups that have a title of their own."""
    loose = next(group for group in command._action_groups if group.title == "options")
    assert len(loose._group_actions) <= 12
