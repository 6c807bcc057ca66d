#!/usr/bin/env python3
"""Writes tests/data/actors/events.golden with TensorBoard's own classes.

Run from the repository's root with a Python that has `tensorboard` installed:
    python3 scripts/make_event_golden.py
"""
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

Value = summary_pb2.Summary.Value
start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
summary = summary_pb2.Summary(value=[
    Value(tag="train/loss", simple_value=0.5),
    Value(tag="eval/accuracy", simple_value=0.97265625),
])
events = [
    event_pb2.Event(wall_time=1700000000.25, step=0, file_version="brain.Event:2"),
    event_pb2.Event(wall_time=1700000001.5, step=300, session_log=start),
    event_pb2.Event(wall_time=1700000002.0, step=300, summary=summary),
]
with open("tests/data/actors/events.golden", "wb") as out:
    writer = RecordWriter(out)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    writer.flush()
