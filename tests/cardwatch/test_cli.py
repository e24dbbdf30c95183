"""The command line: what it says, how it ends, what it imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cardwatch.cli import COMMANDS, main


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer sees all there is with one word."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert "exit codes: 0 done" in shown


def test_help_imports_nothing_heavy() -> None:
    """`cardwatch --help` answers at once: no client, framework or compiler is imported for it."""
    code = (
        "import sys\nfrom cardwatch.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'numba', 'fastapi', 'pydantic', 'confluent_kafka', 'faust', 'redis', 'rich', 'river'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def _heavy_ones_of(modules: Sequence[str], heavy: Sequence[str]) -> str:
    """Which packages of these are imported with some modules, as a process of its own tells."""
    code = f"import sys, {', '.join(modules)}\nprint(*sorted({set(heavy)!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_what_an_operator_types_at_night_waits_for_no_compiler() -> None:
    """Commands that look at a system or mend it begin within a second or two: what scores payments is not in them."""
    names = ("audit", "breaker", "dlq", "doctor", "metrics", "rebuild", "top", "topics", "trigger", "webhooks")
    modules = [COMMANDS[name].module for name in names]
    assert _heavy_ones_of(modules, ("numba", "scipy", "river", "faust", "fastapi", "alembic", "pyarrow")) == ""


def test_roles_that_do_not_score_have_no_compiler() -> None:
    """Responding, remembering and telling start quicker and take less memory without what scoring needs."""
    assert _heavy_ones_of(["cardwatch.roles"], ("numba", "scipy", "river", "fastapi", "alembic", "pyarrow")) == ""


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Typing `cardwatch` alone is not an error."""
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"replay"}))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has a help."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert COMMANDS[name].purpose in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["worker", "--roles", "scare"], 2, "--roles: scare is no role; there are score, respond, learn"),
        (["worker", "--roles", ""], 2, "--roles: nothing is no role"),
        (["worker"], 2, "kafka.bootstrap_servers: no broker is set, and no demo runs in"),
        (["worker", "--broker", "localhost:1"], 2, "redis.url: no Redis is set, and no demo runs in"),
        (["api"], 2, "redis.url: no Redis is set"),
        (["topics", "--broker", "localhost"], 2, "right is host:port"),
        (["demo", "--rate", "-1"], 2, "--rate must be 0 or more"),
        (["demo", "--cards", "3"], 2, "cards is 3; it must be 100 to"),
        (["demo", "--until-case", "--attack", "none"], 2, "--until-case needs an attack"),
        (["trigger", "stolen_card", "--broker", "localhost:1", "--cards", "3"], 2, "cards is 3; it must be 100 to"),
    ],
)
def test_a_wrong_command_line_ends_before_anything_starts(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, what is wrong and what would be right on stderr, and nothing was started or written."""
    data = tmp_path / "data"
    assert main([*arguments, "--data-dir", str(data)]) == code
    assert said in capsys.readouterr().err
    assert not data.exists()


def test_an_unreachable_broker_ends_with_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3 tells a script that waiting may help."""
    assert main(["topics", "--broker", "127.0.0.1:1"]) == 3
    assert "no Kafka broker answers at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["webhooks", "enable", "bank", "--reason"],
        ["breaker", "release", "p-1", "--reason"],
        ["dlq", "drop", "alerts/0/1", "--note"],
        ["dlq", "retry", "alerts/0/1", "--actor"],
        ["models", "promote", "m-1", "--note"],
        ["models", "rollback", "--as"],
    ],
)
def test_a_card_number_in_an_operators_words_is_not_taken(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What operators say is kept for years; and it is not repeated."""
    with pytest.raises(SystemExit):
        main([*command, "card 4111 1111 1111 1111"])
    said = capsys.readouterr().err
    assert "a card number is in it" in said
    assert "1111" not in said
