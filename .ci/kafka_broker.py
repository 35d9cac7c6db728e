#!/usr/bin/env python3
"""Kafka's protocol on local ports, by the mock cluster that librdkafka has for tests, and a producer for it.

    kafka_broker.py serve [BROKERS]                     prints the address of the brokers, then serves until its input ends
    kafka_broker.py send ADDRESS TOPIC [OPTIONS]        sends one message per line of its input: a partition, a tab and
                                                        the value, or a partition alone for a message without a value
        --codec none|gzip|snappy|lz4|zstd               how batches are compressed (none)

A topic that is not there is made, with four partitions. Of a partition the newest 5 MiB are kept. What was sent is gone
with the process that serves.
"""

import argparse
import sys

from confluent_kafka import Producer

PATIENCE = 60
"""Longest wait for the brokers, in seconds."""


def serve(brokers: int) -> None:
    cluster = Producer({"test.mock.num.brokers": brokers})
    known = cluster.list_topics(timeout=PATIENCE).brokers.values()
    print(",".join(f"{broker.host}:{broker.port}" for broker in known), flush=True)
    sys.stdin.read()


def send(address: str, topic: str, codec: str) -> None:
    producer = Producer({
        "bootstrap.servers": address,
        "compression.codec": codec,
        "queue.buffering.max.messages": 1_000_000,
        "linger.ms": 20,
    })
    producer.list_topics(topic, timeout=PATIENCE)
    failures = []
    for line in sys.stdin.buffer:
        partition, tab, value = line.rstrip(b"\n").partition(b"\t")
        producer.produce(
            topic,
            value=value if tab else None,
            key=b"key",
            partition=int(partition),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
        producer.poll(0)
    left = producer.flush(PATIENCE)
    if left or failures:
        sys.exit(f"{left} messages were not sent, {len(failures)} failed: {failures[:1]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("brokers", nargs="?", type=int, default=1)
    sending = commands.add_parser("send")
    sending.add_argument("address")
    sending.add_argument("topic")
    sending.add_argument("--codec", default="none")
    options = parser.parse_args()
    if options.command == "serve":
        serve(options.brokers)
    else:
        send(options.address, options.topic, options.codec)


if __name__ == "__main__":
    main()
