"""The frame of every Python process of tracewise: requests in, replies out, until the other side is gone.

A frame is its length (4 bytes, little-endian) and that many bytes. A request is a JSON object, the first one
being the service's setup. A reply is one byte, then text: "r" and a JSON value, "e" and a sentence (the request
failed), or "m" and a sentence (out of memory). What is printed goes to the other side's error messages.
"""
import json
import os
import struct
import sys
import traceback

CHANNEL = 3
sys.path.pop(0)  # where this script lies, which is no folder


class Refusal(Exception):
    """A sentence that stands for itself, without the exception's name and place."""


def read_exactly(count):
    parts = []
    while count > 0:
        part = os.read(CHANNEL, min(count, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def send(status, text):
    payload = status + text.encode("utf-8", "replace")
    frame = memoryview(struct.pack("<I", len(payload)) + payload)
    while frame:
        frame = frame[os.write(CHANNEL, frame):]


def sentence(error, home=None):
    """Type, text and place of an exception; of several places the last one in the file `home`."""
    if isinstance(error, Refusal):
        return str(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame for frame in frames if frame.filename == home]
    return f"{here[-1].filename}:{here[-1].lineno}: {text}" if here else text


def serve(setup, answer):
    """setup(request) gives the place whose lines are named in errors, or None; answer(request) a JSON value."""
    handle, home = setup, None
    while True:
        (length,) = struct.unpack("<I", read_exactly(4))
        request = read_exactly(length)
        try:
            value = handle(json.loads(request))
            if handle is setup:
                handle, home, value = answer, value, None
            reply = b"r", json.dumps(value, allow_nan=False)
        except MemoryError as error:
            reply = b"m", sentence(error, home)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a function may call sys.exit()
            reply = b"e", sentence(error, home)
        sys.stdout.flush()
        send(*reply)
