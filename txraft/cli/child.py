"""What `txraft up` runs for each node: `twistd`, in a process that ends when `txraft up` does.

Its standard input is a pipe that `txraft up` holds and never writes to. Its end says that `txraft up` is gone, also
where that was killed and could tell nobody.
"""

import os
import signal
import threading


def main() -> None:
    """Run `twistd` with the arguments of the process, which must have `--nodaemon` among them: threads do not fork."""
    # Ctrl-C in a terminal reaches every process there; `txraft up` alone answers it. Twisted leaves this as it is.
    # Until here SIGINT was blocked, by who started this process; one that came meanwhile is forgotten now.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=terminate_at_end_of, args=(0,), daemon=True).start()

    from twisted.scripts.twistd import run  # noqa: PLC0415 - it takes a while, in which the pipe may end

    run()


def terminate_at_end_of(descriptor: int) -> None:
    """Wait for the end of the file, then send this process SIGTERM, as an operator would."""
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
