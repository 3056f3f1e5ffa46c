"""`txraft up`: a whole cluster on this machine, in the foreground."""

import signal
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.web.client import Agent

from txraft.cli.cluster import LocalCluster
from txraft.cli.subcommand import Subcommand
from txraft.settings import BUILT_IN, load


class Up(Subcommand):
    """The options of `txraft up`."""

    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["config", None, None, "A TOML file that describes the cluster; without it, three nodes on localhost."],
        ["data-dir", None, "data", "Where node N keeps its data, in a directory N."],
    ]
    longdesc = "Starts every node of the cluster as a process of its own, and ends all of them at Ctrl-C."

    def run(self) -> int:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        arguments = ["--data-dir", self["data-dir"]]
        if self["config"] is not None:
            arguments += ["--config", self["config"]]
        cluster = LocalCluster(
            settings=BUILT_IN if self["config"] is None else load(self["config"]),
            arguments=tuple(arguments),
            processes=reactor,
            clock=reactor,
            agent=Agent(reactor, connectTimeout=1),
            say=partial(print, flush=True),
        )
        return run_until_ended(cluster, reactor)


def run_until_ended(cluster: LocalCluster, reactor: Any) -> int:
    """Run the reactor until SIGINT or SIGTERM, or until no node is left. Gives the exit status."""

    def start() -> None:
        reactor.addSystemEventTrigger("before", "shutdown", shut_down)
        cluster.start().addCallback(lambda _: ended())

    def shut_down() -> "Deferred[None]":
        for number in (signal.SIGINT, signal.SIGTERM):  # who presses Ctrl-C twice does not want to wait
            signal.signal(number, lambda *_: reactor.callFromThread(cluster.kill))
        return cluster.stop()

    def ended() -> None:
        with suppress(ReactorNotRunning):  # it is being stopped already
            reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    return cluster.exit_status
