"""``tocsin hub person`` and ``tocsin hub token``: people and programs, at the keyboard of the hub."""

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from tocsin_hub import keyboard
from tocsin_hub.keyboard import opened, read
from tocsin_hub.people import audit, invitations, keeping, passwords, rules, tokens
from tocsin_hub.people.keeping import Entry
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.reading import Account, People
from tocsin_hub.people.sessions import DAY_US
from tocsin_hub.people.tokens import Scope
from tocsin_hub.recorder import Recorder
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import iso, now_us
from tocsin_shared.errors import BadInputError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``person`` and ``token`` to the commands of the hub."""
    person = commands.add_parser("person", help="who may use the hub")
    verbs = person.add_subparsers(required=True, metavar="COMMAND")
    _verb(verbs, "list", _list, "print everybody")
    add = _verb(verbs, "add", _add, "add somebody with a login name and a password")
    invite = _verb(verbs, "invite", _invite, "print a link that lets somebody in, once")
    for verb in (add, invite):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("--role", choices=tuple(Role), default=Role.WORKER)
        verb.add_argument("--zones", default="", metavar="ZONE,ZONE", help="default: all zones")
    add.add_argument("--login", required=True, metavar="LOGIN")
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    disable = _verb(verbs, "disable", _disable, "shut somebody out, at once")
    disable.add_argument("who", metavar="LOGIN|ID")

    token = commands.add_parser("token", help="which programs may use the API")
    verbs = token.add_subparsers(required=True, metavar="COMMAND")
    _verb(verbs, "list", _list_tokens, "print all tokens, without what makes them one")
    make = _verb(verbs, "add", _add_token, "print a new token; it is never shown again")
    make.add_argument("name", metavar="NAME", help="which program it is for")
    make.add_argument("--person", required=True, metavar="LOGIN|ID", help="for whom it acts")
    make.add_argument("--scopes", default=Scope.READ, metavar="SCOPE,SCOPE", help=", ".join(Scope))
    make.add_argument("--days", type=int, default=90, metavar="N", help="0: it does not end by itself")
    revoke = _verb(verbs, "revoke", _revoke_token, "end a token for good")
    revoke.add_argument("token", metavar="ID")


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    words: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=words)
    verb.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")
    verb.set_defaults(run=run)
    return verb


def _list(arguments: argparse.Namespace) -> int:
    for account in read(opened(arguments.config), lambda store: People(store).accounts()):
        person = account.person
        zones = rules.as_words(person.zones) or "all zones"
        state = "" if person.enabled else "  (disabled)"
        print(f"{person.id}  {person.role:<8}{account.login or '-':<20}{person.name}  [{zones}]{state}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    chosen = opened(arguments.config)
    made, login = _person(arguments), rules.clean_login(arguments.login)
    password = _password(arguments.password_stdin)
    rules.check_password(password, chosen.access.password_length)
    entry = Entry(login, passwords.hash_password(password, chosen.access))

    def write(recorder: Recorder) -> Person:
        person = keeping.add(recorder, made, entry, now_us())
        audit.note(recorder, None, "person.added", person.id, person.name, address=audit.COMMAND_LINE)
        return person

    print(keyboard.write(chosen, write).id)
    return 0


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return getpass.getpass("Password: ")


def _invite(arguments: argparse.Namespace) -> int:
    chosen, made = opened(arguments.config), _person(arguments)
    at_us = now_us()

    def write(recorder: Recorder) -> str:
        audit.note(recorder, None, "person.invited", made.name, made.role, address=audit.COMMAND_LINE)
        return invitations.invite(recorder, made, None, at_us, at_us + chosen.access.invite_days * DAY_US)

    print(invitations.address_of(keyboard.write(chosen, write), chosen.web))
    return 0


def _person(arguments: argparse.Namespace) -> Person:
    zones = rules.clean_zones(arguments.zones.split(","))
    return Person(id="", name=rules.clean_name(arguments.name), role=Role(arguments.role), zones=zones)


def _disable(arguments: argparse.Namespace) -> int:
    chosen = opened(arguments.config)
    person = _find(chosen, arguments.who).person

    def write(recorder: Recorder) -> None:
        keeping.disable(recorder, person.id)
        audit.note(recorder, None, "person.disabled", person.id, person.name, address=audit.COMMAND_LINE)

    keyboard.write(chosen, write)
    return 0


def _list_tokens(arguments: argparse.Namespace) -> int:
    at_us = now_us()
    for token in read(opened(arguments.config), tokens.tokens):
        state = "" if token.lasts(at_us) else "  (ended)"
        used = iso(token.used_us) or "never used"
        print(f"{token.id}  {rules.as_words(token.scopes):<16}{used}  {token.name}{state}")
    return 0


def _add_token(arguments: argparse.Namespace) -> int:
    chosen = opened(arguments.config)
    person, name = _find(chosen, arguments.person).person, rules.clean_name(arguments.name)
    wanted = [one.strip() for one in str(arguments.scopes).split(",")]
    if unknown := set(wanted) - set(Scope):
        raise BadInputError(f"there is no scope {rules.as_words(unknown)}; known are {', '.join(Scope)}")
    at_us, days = now_us(), max(0, arguments.days)

    def write(recorder: Recorder) -> str:
        audit.note(recorder, None, "token.made", name, rules.as_words(wanted), address=audit.COMMAND_LINE)
        ends_us = at_us + days * DAY_US if days else None
        scopes = [Scope(one) for one in wanted]
        return tokens.add(recorder, name, person.id, scopes, now_us=at_us, expires_us=ends_us)

    print(keyboard.write(chosen, write))
    return 0


def _revoke_token(arguments: argparse.Namespace) -> int:
    def write(recorder: Recorder) -> bool:
        audit.note(recorder, None, "token.revoked", arguments.token, address=audit.COMMAND_LINE)
        return tokens.revoke(recorder, arguments.token, now_us())

    if not keyboard.write(opened(arguments.config), write):
        raise BadInputError(f"there is no token {arguments.token} that could be ended; see: token list")
    return 0


def _find(chosen: HubSettings, who: str) -> Account:
    account = read(chosen, lambda store: _account(People(store), who))
    if account is None:
        raise BadInputError(f"there is nobody with the login name or id {who!r}; see: person list")
    return account


def _account(people: People, who: str) -> Account | None:
    return people.account(who) or people.account_by_login(who.lower())
