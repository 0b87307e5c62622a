#!/usr/bin/env python3
"""What net-snmp's snmpd shows of some subtrees: a pass_persist handler.

FILE is JSON, read anew at each request: {"1.3.6.1.4.1.318...": ["integer", 982], ...}, by names
without a leading dot. What it does not hold, the device does not have.

usage: table.py FILE
"""
import json
import sys


def key(name):
    return [int(part) for part in name.strip(".").split(".")]


def find(question, asked):
    with open(sys.argv[1], encoding="utf-8") as file:
        table = sorted((key(name), answer) for name, answer in json.load(file).items())
    for name, answer in table:
        if (name == asked) if question == "get" else (name > asked):
            return name, answer
    return None


for line in sys.stdin:
    question = line.strip()
    if question == "PING":
        print("PONG", flush=True)
    elif question in ("get", "getnext"):
        found = find(question, key(sys.stdin.readline()))
        if found is None:
            print("NONE", flush=True)
        else:
            name, (kind, value) = found
            print("." + ".".join(map(str, name)), kind, value, sep="\n", flush=True)
