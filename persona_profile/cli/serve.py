"""`persona-profile serve` and `persona-profile assertion`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from typing import Any, Final, NoReturn

import plaster

from persona_profile.cli.config import SERVER, load_settings, loader
from persona_profile.cli.failures import CommandFailed
from persona_profile.cli.numbers import whole_number
from persona_profile.cli.parts import reporting_all_faults
from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.runtime import supervisor
from persona_profile.runtime.control import FAULTS, ControlChannel
from persona_profile.runtime.exposition import listen
from persona_profile.runtime.lifecycle import LATER_SIGNALS
from persona_profile.serving.waitress_settings import ADDRESSES, DEFAULT_ADDRESS, adjustments
from persona_profile.settings import SERVER_VARIABLES, InvalidSettings, Settings, parse_settings

MAX_PROCESSES: Final = 64
# -P: like the command itself, ignore Python files of the current folder.
_MODULE: Final = (sys.executable, "-P", "-m")
_RUNNER: Final = "egg:persona-profile-server"
_FOREIGN: Final = {"use", "here", "__file__"}


def add_to(commands: Any) -> None:
    """Add the commands to a parser's."""
    job = commands.add_parser("serve", help="start the server")
    job.add_argument(
        "--processes",
        metavar="N",
        type=whole_number(1, MAX_PROCESSES),
        help="the number of processes under a supervisor, which restarts a process that dies and "
        "replaces all at SIGUSR2, without a failed request (default: one, without a supervisor)",
    )
    job.add_argument("--supervised", metavar="DESCRIPTORS", help=argparse.SUPPRESS)
    job.set_defaults(run=_serve)

    assertion = commands.add_parser(
        "assertion", help="print an assertion of the development identity provider"
    )
    assertion.add_argument("email", metavar="EMAIL")
    assertion.add_argument("--audience", metavar="ORIGIN", help="default: the first of public_origins")
    assertion.set_defaults(run=_assertion)


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, LATER_SIGNALS)  # until the handlers are set
    ini = loader(options.config, SERVER)
    try:
        with reporting_all_faults(ini):
            check_settings(ini)
            _start(options, ini)
    except InvalidSettings as error:
        if options.supervised is None or not _report(options, error):
            raise
        return 2
    return 0


def _report(options: argparse.Namespace, error: InvalidSettings) -> bool:
    """Send the faults of a process to its supervisor, which prints them once for all processes."""
    try:
        control = socket.socket(fileno=os.dup(int(options.supervised.partition(",")[0])))
    except OSError:
        return False
    with control:
        return ControlChannel(control).send(FAULTS, f"persona-profile: {options.config}: {error}")


def _start(options: argparse.Namespace, ini: plaster.ILoader) -> None:
    try:
        if options.processes is not None:
            _supervise(options, ini)
        app = ini.get_wsgi_app()
        if options.supervised is not None:
            _serve_supervised(app, ini, options.supervised)
        elif _is_ours(ini):
            _serve_alone(app, ini)
        else:
            ini.get_wsgi_server()(app)
    except OSError as error:
        raise CommandFailed(f"{error.filename or 'cannot listen'}: {error.strerror}") from None


def check_settings(ini: plaster.ILoader) -> Settings:
    """Return the application's settings; the server's are checked too, before anything is opened.

    Raises:
        InvalidSettings: one can't be used; the message has the faults of both.
    """
    faults = []
    try:
        _server_adjustments(ini)
    except InvalidSettings as error:
        faults.append(str(error))
    try:
        settings = _app_settings(ini)
    except InvalidSettings as error:
        faults.insert(0, str(error))
    if faults:
        raise InvalidSettings("\n".join(faults))
    return settings


def listening(ini: plaster.ILoader) -> list[Any]:
    """Return the addresses of the server: those of sockets, or the path of a Unix socket."""
    if not _is_ours(ini):
        return []
    settings = _server_settings(ini)
    if not settings.keys() & ADDRESSES:
        settings["listen"] = DEFAULT_ADDRESS
    wanted = adjustments(settings)
    return [wanted.unix_socket] if wanted.unix_socket else [each[3] for each in wanted.listen]


def _app_settings(ini: plaster.ILoader) -> Settings:
    return parse_settings(ini.get_wsgi_app_settings(), os.environ)


def _server_adjustments(ini: plaster.ILoader) -> None:
    if _is_ours(ini):
        adjustments(_server_settings(ini))


def _serve_alone(app: Any, ini: plaster.ILoader) -> None:
    from persona_profile.serving.server import serve  # noqa: PLC0415 - no other command loads it

    settings: dict[str, Any] = _server_settings(ini)
    try:
        serve(app, **settings)
    except OSError as error:
        places = " ".join(settings[name] for name in sorted(ADDRESSES & settings.keys()))
        place = error.filename or places or DEFAULT_ADDRESS
        raise CommandFailed(f"{place}: {error.strerror}") from None


def _supervise(options: argparse.Namespace, ini: plaster.ILoader) -> NoReturn:
    """Replace this process by the supervisor."""
    settings = _app_settings(ini)
    if settings.backend == "memory":
        raise InvalidSettings("backend: a store in memory can't be shared by processes")
    server = _server_settings(ini)
    # First: who can connect to the service can read its metrics.
    metrics = listen(settings.metrics_listen) if settings.metrics_listen else None
    sockets = _sockets(server)
    plan = supervisor.Plan(
        command=[*_MODULE, "persona_profile.cli", "-c", options.config, "serve"],
        processes=options.processes,
        sockets=[each.detach() for each in sockets],
        metrics=metrics.detach() if metrics else None,
        stop_seconds=settings.shutdown_drain_seconds + settings.shutdown_grace_seconds,
        log_format=settings.logging_format,
        log_level=settings.logging_level,
    )
    for descriptor in [*plan.sockets, plan.metrics]:
        if descriptor is not None:
            os.set_inheritable(descriptor, True)
    # A new program, as this process has loaded far more than a supervisor needs.
    arguments = [*_MODULE, "persona_profile.runtime.supervisor", plan.to_json()]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell is wanted


def _server_settings(ini: plaster.ILoader) -> dict[str, str]:
    """Return the settings of waitress, overridden from the environment."""
    if not _is_ours(ini):
        raise InvalidSettings(f"--processes needs `use = {_RUNNER}` in [server:main]")
    settings = {name: value for name, value in ini.get_settings(SERVER).items() if name not in _FOREIGN}
    given = {name: os.environ[each] for each, name in SERVER_VARIABLES.items() if os.environ.get(each)}
    if "listen" in given:
        settings = {name: value for name, value in settings.items() if name not in ADDRESSES}
    return settings | given


def _is_ours(ini: plaster.ILoader) -> bool:
    use: str = ini.get_settings(SERVER).get("use", "")
    return use.partition("#")[0] == _RUNNER


def _sockets(settings: dict[str, str]) -> list[socket.socket]:
    """Return sockets that listen on the addresses of the settings."""
    if not settings.keys() & ADDRESSES:
        settings["listen"] = DEFAULT_ADDRESS
    wanted = adjustments(settings)
    if wanted.unix_socket:
        raise InvalidSettings("--processes listens on addresses and ports, not on a unix_socket")
    listening = []
    for family, _, _, address in wanted.listen:
        try:
            listening.append(socket.create_server(address, family=family, backlog=wanted.backlog))
        except OSError as error:
            reason = os.strerror(error.errno or 0)  # `strerror` has the address once more
            raise CommandFailed(f"{address[0]}:{address[1]}: {reason}") from None
    return listening


def _serve_supervised(app: Any, ini: plaster.ILoader, descriptors: str) -> None:
    """Serve on the sockets of the supervisor."""
    from persona_profile.serving.server import serve  # noqa: PLC0415 - no other command loads it

    control, *listening = (socket.socket(fileno=int(each)) for each in descriptors.split(","))
    settings: dict[str, Any] = _server_settings(ini)
    for name in ADDRESSES:
        settings.pop(name, None)
    serve(app, supervisor=ControlChannel(control), sockets=listening, **settings)


def _assertion(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    if not settings.development:
        raise InvalidSettings("development = true is needed: this provider vouches for anybody")
    try:
        provider = DevelopmentIdentityProvider.load(settings.development_folder)
        print(provider.bundle(options.email, options.audience or settings.public_origins[0]))
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error)) from None
    return 0
