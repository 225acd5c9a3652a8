"""A stream that makes nothing; run as a script it keeps workers busy until it is killed."""

import os
import sys
import time

from hdrvideo.synth.shards import stream_batches


class SleepingStream:
    """Says which process is at work, then sleeps for longer than any test waits."""

    def __getitem__(self, number):
        os.write(sys.stdout.fileno(), f"{os.getpid()}\n".encode())
        time.sleep(300)


if __name__ == "__main__":
    next(stream_batches(SleepingStream, range(9), n_workers=2))
