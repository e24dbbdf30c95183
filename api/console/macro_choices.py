"""The playbook's macros as the case page offers them: what each does, for whom, and which key it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.console.language import Language
from casework import commands as do
from casework.acting import DEEDS, circumstances_of, tag_of
from casework.authority import Authority, Person
from casework.cards import can_become
from casework.cases import Disposition
from casework.commands import Command
from casework.errors import NotAuthorisedError
from casework.playbook import Playbook
from casework.views import CaseView
from detector.vocabulary import CardStatus

# One key for each answer to "what was it?"; a macro that decides nothing has none.
_KEYS = {Disposition.CONFIRMED_FRAUD: "c", Disposition.FALSE_POSITIVE: "f", Disposition.VALUABLE_ALERT: "g"}
_TARGETS: dict[type, CardStatus] = {
    do.Unfreeze: CardStatus.ACTIVE,
    do.Freeze: CardStatus.FROZEN,
    do.Block: CardStatus.BLOCKED,
}


@dataclass(frozen=True, slots=True)
class MacroChoice:
    """One macro.

    Attributes:
        effects: what follows, in words and order.
        key: the key that chooses it; empty for none.
        note: what an agent would usually write; empty where nobody can know.
        why_not: why this person cannot begin it now; empty where they can.
    """

    name: str
    title: str
    effects: tuple[str, ...]
    key: str
    note: str
    why_not: str


def macro_choices(
    view: CaseView, person: Person, authority: Authority, playbook: Playbook, language: Language, now_ms: int
) -> list[MacroChoice]:
    """The macros for cases of this kind; those that cannot be begun say why."""
    chosen: list[MacroChoice] = []
    taken: set[str] = set()
    for spec in playbook.macros.values():
        if not spec.suits(view.case.kind):
            continue
        commands = spec.commands("-")
        key = _key(commands, taken)
        taken.add(key)
        chosen.append(
            MacroChoice(
                spec.name,
                language.desk_words.choice(f"macros.{spec.name}", spec.title),
                tuple(_effects(commands, playbook, language)),
                key,
                language.texts.get(f"notes.{spec.name}", ""),
                _why_not(view, commands, person, authority, language, now_ms),
            )
        )
    return chosen


def _key(commands: Iterable[Command], taken: set[str]) -> str:
    for command in commands:
        if isinstance(command, do.Decide) and _KEYS[command.disposition] not in taken:
            return _KEYS[command.disposition]
    return ""


def _effects(commands: Iterable[Command], playbook: Playbook, language: Language) -> Iterable[str]:
    """What each command does, and what the cardholder is told."""
    for command in commands:
        if isinstance(command, do.Decide):
            yield language.say("decide.labels", what=language.choice("outcomes", command.disposition))
            continue
        if isinstance(command, do.Watch):
            yield language.say("decide.watches", days=command.days)
            continue
        title, hint = language.desk_words.action(tag_of(command))
        yield title if isinstance(command, do.Close) else f"{title}. {hint}".strip()
        if _TARGETS.get(type(command)) in playbook.card_notices:
            yield language.say("decide.cardholder_told")


def _why_not(
    view: CaseView,
    commands: tuple[Command, ...],
    person: Person,
    authority: Authority,
    language: Language,
    now_ms: int,
) -> str:
    """Why it cannot be begun; the desk refuses it anyway."""
    deeds = [DEEDS[type(command)] for command in commands]
    if view.case.tier > person.tier or not _is_permitted(view, commands, person, authority):
        return language.say("decide.other_tier")
    targets = [_TARGETS[type(command)] for command in commands if type(command) in _TARGETS]
    if not all(can_become(view.card_state, target) for target in targets):
        return language.say("decide.card_cannot", state=language.choice("card_states", view.card_state.wire))
    is_needed = view.card_state is CardStatus.FROZEN and any(deed.needs_identity for deed in deeds)
    if is_needed and not view.case.verification.holds(now_ms):
        return language.say("decide.identity_first")
    return ""


def _is_permitted(view: CaseView, commands: Iterable[Command], person: Person, authority: Authority) -> bool:
    """Whether the matrix lets this person do all of it, be it with a second person's consent."""
    try:
        for command in commands:
            authority.needs_second(person, DEEDS[type(command)].act, circumstances_of(view.case, command))
    except NotAuthorisedError:
        return False
    return True
