"""What the case page offers to do, as data: one small form for each command, made from the same words and types.

A form's fields are those of the command; `read_command` turns what a browser sends back into it. Times are chosen as
spans from now, so that nothing needs a script.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from api.console.desk_words import DeskWords
from api.console.language import Language
from api.console.words import money
from api.errors import FormError
from casework.authority import Act, Authority, Person
from casework.cases import Case, CaseState
from casework.commands import Command, Commands
from casework.kinds import KINDS, CaseKind, FieldType
from casework.lifecycle import CHOSEN_STATES, can_become
from casework.playbook import Playbook
from casework.verification import Method
from casework.views import CaseView
from detector.vocabulary import CardStatus

_HOUR_MS = 3_600_000
_SPANS = ("1", "4", "24", "72", "168", "720")
_DETAIL = "detail."


class Input(StrEnum):
    """How a field is asked for."""

    TEXT = "text"
    AREA = "area"
    NUMBER = "number"
    CHOICE = "choice"
    CHECKS = "checks"
    SPAN = "span"
    FLAG = "flag"


class Group(StrEnum):
    """Under which heading a form stands."""

    IDENTITY = "identity"
    CARD = "card"
    WORK = "work"
    END = "end"


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form.

    Attributes:
        name: that of the command's field.
        choices: values and what they are called.
        label: what the field is called.
    """

    name: str
    input: Input
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = True
    label: str = ""


@dataclass(frozen=True, slots=True)
class ActionForm:
    """One form.

    Attributes:
        do: the command's tag.
        act: what the matrix must allow for it to be offered.
        fields: in order.
        title, hint: in words.
    """

    do: str
    group: Group
    act: Act
    fields: tuple[FormField, ...] = ()
    title: str = ""
    hint: str = ""

    @property
    def key(self) -> str:
        """The key that leads to it; empty for none."""
        return _KEYS.get(self.do, "")


# One letter each; where two forms share one, only one of them is offered at a time, or the first is meant.
_KEYS = {
    "escalate": "e", "snooze": "s", "return": "s", "note": "m", "take": "t", "release": "t", "undo": "u",
    "verify_answer": "v", "verify_begin": "v", "verify_seen": "i", "freeze": "z", "unfreeze": "z", "close": "x",
    "reopen": "o",
}  # fmt: skip
_REASON = FormField("reason", Input.AREA)
_NOTE = FormField("note", Input.AREA)
_SPAN = FormField("until_ms", Input.SPAN)
_LIMIT = (FormField("limit_minor", Input.NUMBER), FormField("currency", Input.TEXT))


def forms_for(
    view: CaseView, person: Person, authority: Authority, playbook: Playbook, language: Language, now_ms: int
) -> list[ActionForm]:
    """The forms that make sense for this case now and that this person may send, in words."""
    case = view.case
    if not case.is_open:
        offered = [ActionForm("reopen", Group.END, Act.CASE_REOPEN, (_REASON,))]
    elif case.locked_by_other(person.name, now_ms):
        offered = [
            ActionForm("note", Group.WORK, Act.CASE_WORK, (FormField("text", Input.AREA),)),
            ActionForm("freeze", Group.CARD, Act.CARD_FREEZE, (_REASON,)),
            ActionForm("assign", Group.WORK, Act.CASE_REASSIGN, (FormField("owner", Input.TEXT),)),
        ]
    else:
        offered = [
            *_identity(case, language),
            *_card(case, view.card_state),
            *_work(case, person),
            *_end(case, playbook),
        ]
    return [_in_words(form, language.desk_words) for form in offered if authority.permits(person.role, form.act)]


def _identity(case: Case, language: Language) -> list[ActionForm]:
    challenge = case.verification.challenge
    methods = _named("methods", (Method.CODE, Method.KNOWLEDGE))
    seen = _named("methods", (Method.CALL_BACK, Method.DOCUMENT))
    forms = [
        ActionForm("verify_begin", Group.IDENTITY, Act.CASE_VERIFY, (FormField("method", Input.CHOICE, methods),)),
        ActionForm("verify_seen", Group.IDENTITY, Act.CASE_VERIFY, (FormField("method", Input.CHOICE, seen),)),
    ]
    if challenge is not None:
        options = tuple(
            (str(place), f"={language.moment(option.time_ms)}, {money(option.amount_minor, option.currency)}")
            for place, option in enumerate(challenge.options)
        )
        answer = FormField("answer", Input.CHECKS if options else Input.TEXT, options)
        forms.insert(0, ActionForm("verify_answer", Group.IDENTITY, Act.CASE_VERIFY, (answer,)))
    transactions = tuple((transaction_id, f"={transaction_id}") for transaction_id in case.transaction_ids)
    if transactions:
        mine = FormField("mine", Input.CHOICE, (("true", "answers.yes"), ("false", "answers.no")))
        fields = (FormField("transaction_id", Input.CHOICE, transactions), mine)
        forms.append(ActionForm("cardholder_answer", Group.IDENTITY, Act.CASE_WORK, fields))
    return forms


def _card(case: Case, state: CardStatus) -> list[ActionForm]:
    by_state = {
        CardStatus.ACTIVE: (("freeze", Act.CARD_FREEZE), ("block", Act.CARD_BLOCK), ("reissue", Act.CARD_REISSUE)),
        CardStatus.FROZEN: (("unfreeze", Act.CARD_UNFREEZE), ("block", Act.CARD_BLOCK), ("reissue", Act.CARD_REISSUE)),
        CardStatus.BLOCKED: (("reissue", Act.CARD_REISSUE),),
        CardStatus.REISSUED: (),
    }
    forms = [ActionForm(do, Group.CARD, act, (_REASON,)) for do, act in by_state[state]]
    if case.kind is CaseKind.DISPUTE:
        forms.append(ActionForm("accept_dispute", Group.CARD, Act.DISPUTE_ACCEPT, (_REASON,)))
    countries = FormField("countries", Input.TEXT)
    return [
        *forms,
        ActionForm("lower_limit", Group.CARD, Act.LIMIT_LOWER, _LIMIT),
        ActionForm("change_limit", Group.CARD, Act.LIMIT_CHANGE, _LIMIT),
        ActionForm("watch", Group.CARD, Act.CARD_WATCH, (FormField("days", Input.NUMBER),)),
        ActionForm("allow_merchant", Group.CARD, Act.MERCHANT_ALLOW, (FormField("merchant_id", Input.TEXT), _SPAN)),
        ActionForm("travel", Group.CARD, Act.TRAVEL_NOTE, (countries, _SPAN)),
    ]


def _work(case: Case, person: Person) -> list[ActionForm]:
    states = [state for state in CaseState if state in CHOSEN_STATES and can_become(case.state, state)]
    forms = [ActionForm("take", Group.WORK, Act.CASE_TAKE)]
    if case.owner == person.name:
        forms = [ActionForm("release", Group.WORK, Act.CASE_TAKE)]
    if case.approval is not None:
        forms.append(ActionForm("approve", Group.WORK, Act.APPROVE))
        forms.append(ActionForm("refuse", Group.WORK, Act.APPROVE, (_REASON,)))
    if case.state is CaseState.WAITING:
        forms.append(ActionForm("return", Group.WORK, Act.CASE_SNOOZE))
    details = tuple(
        FormField(_DETAIL + field.name, Input.AREA if field.type in {FieldType.TEXT, FieldType.ITEMS} else Input.TEXT,
                  required=False)
        for field in KINDS[case.kind].fields
    )  # fmt: skip
    if details:
        forms.append(ActionForm("describe", Group.WORK, Act.CASE_WORK, details))
    flags = (FormField("waiting", Input.FLAG, required=False), FormField("vulnerable", Input.FLAG, required=False))
    severities = _named("severities", ("0", "1", "2", "3"))
    return [
        *forms,
        ActionForm("move", Group.WORK, Act.CASE_WORK, (FormField("state", Input.CHOICE, _named("states", states)),)),
        ActionForm("note", Group.WORK, Act.CASE_WORK, (FormField("text", Input.AREA),)),
        ActionForm("snooze", Group.WORK, Act.CASE_SNOOZE, (_SPAN, _REASON)),
        ActionForm("escalate", Group.WORK, Act.CASE_ESCALATE, (_REASON,)),
        ActionForm("customer", Group.WORK, Act.CASE_WORK, flags),
        ActionForm("severity", Group.WORK, Act.CASE_WORK, (FormField("severity", Input.CHOICE, severities), _REASON)),
        ActionForm("assign", Group.WORK, Act.CASE_REASSIGN, (FormField("owner", Input.TEXT),)),
    ]


def _end(case: Case, playbook: Playbook) -> list[ActionForm]:
    macros = tuple((spec.name, f"={spec.title}") for spec in playbook.macros.values() if spec.suits(case.kind))
    outcomes = _named("outcomes", KINDS[case.kind].outcomes)
    close = ActionForm("close", Group.END, Act.CASE_OVERRIDE, (FormField("outcome", Input.CHOICE, outcomes), _NOTE))
    if case.pending is not None:
        return [ActionForm("undo", Group.END, Act.CASE_WORK)]
    if not macros:
        return [close]
    return [ActionForm("macro", Group.END, Act.CASE_OVERRIDE, (FormField("name", Input.CHOICE, macros), _NOTE)), close]


def _named(table: str, values: object) -> tuple[tuple[str, str], ...]:
    """Values with the key under which the catalogue has their words."""
    listed = values if isinstance(values, list | tuple) else ()
    return tuple((str(value), f"{table}.{value}") for value in listed)


def _in_words(form: ActionForm, texts: DeskWords) -> ActionForm:
    fields = tuple(
        replace(
            field,
            label=texts.field(field.name.removeprefix(_DETAIL)),
            choices=tuple((value, texts.choice(key)) for value, key in field.choices),
        )
        for field in form.fields
    )
    title, hint = texts.action(form.do)
    return replace(form, fields=fields, title=title, hint=hint)


def spans(texts: DeskWords) -> list[tuple[str, str]]:
    """The spans of time that can be chosen, in hours."""
    return [(hours, texts.choice(f"spans.{hours}")) for hours in _SPANS]


_LISTS = frozenset({"countries", "evidence"})
_TIMES = frozenset({"missed_since_ms", "paid_ms"})
_AMOUNTS = frozenset({"amount_minor", "limit_minor", "missed_since_ms", "paid_ms", "until_ms"})


def read_command(form: Mapping[str, str], now_ms: int) -> Command:
    """The command that a form asks for.

    Raises:
        FormError: a field is missing or impossible; names it.
    """
    given: dict[str, object] = {"do": form.get("do", "")}
    chosen = [name.removeprefix("answer.") for name in form if name.startswith("answer.")]
    if chosen:
        given["answer"] = ",".join(sorted(chosen))
    for name, value in form.items():
        text = value.replace("\r\n", "\n").strip()
        if name.startswith("f.") and text:
            given[name.removeprefix("f.")] = _read(name.removeprefix("f."), text)
        elif name.startswith("span.") and text in _SPANS:
            given[name.removeprefix("span.")] = now_ms + int(text) * _HOUR_MS
    if given["do"] == "describe":
        given["details"] = read_details(form)
    if given["do"] == "customer":
        given |= {name: f"f.{name}" in form for name in ("waiting", "vulnerable")}
    try:
        (command,) = msgspec.convert({"actions": [given]}, Commands, strict=False).actions
    except msgspec.ValidationError as error:
        raise FormError(field=_field_of(str(error), str(given["do"]))) from None
    return command


def read_details(form: Mapping[str, str]) -> dict[str, object]:
    """A kind's own fields, as far as they were filled in."""
    given = {name.removeprefix(_DETAIL): value.strip() for name, value in form.items() if name.startswith(_DETAIL)}
    return {name: _read(name, text) for name, text in given.items() if text}


def _read(name: str, text: str) -> object:
    """A field's value: lists are words or lines, amounts are numbers, times are UTC, everything else is a text."""
    if name in _LISTS:
        return [part for part in (line.strip() for line in text.replace(",", "\n").split("\n")) if part]
    if name in _TIMES and "-" in text:
        with contextlib.suppress(ValueError):
            return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
    if name in _AMOUNTS and text.isascii() and text.isdecimal() and len(text) < 18:
        return int(text)
    return text


def _field_of(message: str, do: str) -> str:
    """Our name of the field that msgspec complains about; the form itself where it names none."""
    _, _, place = message.rpartition("$.actions[0]")
    name = place.strip("`.").split("[")[0]
    if "missing required field" in message:
        name = message.split("`")[1]
    return name if name.isidentifier() else (do if do.isidentifier() else "do")
