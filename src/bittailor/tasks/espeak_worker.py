"""The process that speaks: runs espeak-ng on texts from standard input. Started by `espeak.py`; standard library only.

    python espeak_worker.py LIBRARY DATA

espeak-ng keeps state from one utterance to the next, so each is spoken by a process of its own: a fork of this one,
which never speaks itself; where there is no fork, by a new start of this file. Equal requests give equal samples.

Request, a line of JSON: {"voice", "text", "speed" [words a minute], "pitch" [0..100], "range" [0..100]}.
Answer: a line of JSON, then the samples, 16 bits each, little-endian:
    {"rate" [Hz], "samples" (their number), "events" [[first sample, phoneme], …]}, or {"error"} with no samples.
Source  the C interface of espeak-ng: speak_lib.h, version 1.52.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

SYNCHRONOUS, PHONEME_EVENTS = 2, 1  # AUDIO_OUTPUT_SYNCHRONOUS, espeakINITIALIZE_PHONEME_EVENTS
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
END, PHONEME = 0, 7  # espeak_EVENT_TYPE: LIST_TERMINATED, PHONEME
UTF8 = 1


class Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("pointer", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("position", ctypes.c_int),
                ("length", ctypes.c_int), ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int),
                ("user", ctypes.c_void_p), ("name", Name))


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def speak(library: ctypes.CDLL, rate: int, request: dict) -> bytes:  # type: ignore[type-arg]
    """The answer to one request."""
    chunks: list[bytes] = []
    events: list[tuple[int, str]] = []

    def take(samples: object, count: int, event: object) -> int:
        if count > 0 and samples:
            chunks.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        i = 0
        while event[i].type != END:  # type: ignore[index]
            if event[i].type == PHONEME:  # type: ignore[index]
                events.append((event[i].sample, event[i].name.string.decode("ascii", "replace")))  # type: ignore[index]
            i += 1
        return 0

    callback = CALLBACK(take)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(request["voice"].encode()):
        return answer({"error": f"espeak-ng has no voice '{request['voice']}'"})
    for parameter, key in ((RATE, "speed"), (PITCH, "pitch"), (RANGE, "range")):
        library.espeak_SetParameter(parameter, request[key], 0)
    text = request["text"].encode()
    status = library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    samples = b"".join(chunks)
    if status or not samples:
        return answer({"error": f"espeak-ng said nothing for '{request['text']}' (status {status})"})
    return answer({"rate": rate, "samples": len(samples) // 2, "events": events}, samples)


def answer(body: dict, samples: bytes = b"") -> bytes:  # type: ignore[type-arg]
    """As bytes."""
    return json.dumps(body).encode() + b"\n" + samples


def write(data: bytes) -> None:
    """All of it, to standard output."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def serve(arguments: list[str]) -> None:
    """Answer every request."""
    library = ctypes.CDLL(arguments[0])
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, arguments[1].encode(), PHONEME_EVENTS)
    for line in sys.stdin.buffer:
        if rate <= 0:
            write(answer({"error": f"espeak-ng cannot use its data in {arguments[1]} (status {rate})"}))
        elif arguments[2:] == ["once"]:
            write(speak(library, rate, json.loads(line)))
        elif hasattr(os, "fork"):
            child = os.fork()
            if child == 0:
                write(speak(library, rate, json.loads(line)))
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                write(answer({"error": "espeak-ng crashed"}))
        else:
            run = subprocess.run([sys.executable, __file__, *arguments, "once"], input=line, stdout=subprocess.PIPE)
            write(answer({"error": "espeak-ng crashed"}) if run.returncode else run.stdout)


if __name__ == "__main__":
    serve(sys.argv[1:])
