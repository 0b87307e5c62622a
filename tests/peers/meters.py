"""Two third-party Modbus TCP meters (pymodbus) whose registers move by a known schedule.

Unit 1, the incomer, counts as a Schneider iEM3000 does: int64 Wh at holding register 3203.
Unit 2, the UPS output, counts as an Eastron SDM630 does: float32 kWh at input register 72.
Both also show voltage, frequency and power. The registers stand still for HOLD seconds, move once
a second for RUN seconds, and then stand still again; a line of JSON says what they show whenever
they start or stop moving: start_wh, start_kwh_bits, end_wh, end_kwh_bits.

Units 3 to 8 are SDM630s that stand still. CONTROL is a file that a test may write while this runs,
JSON, by unit: {"order": {"1": "CDAB"}, "refuses": {"4": 4}, "silent": [3], "kwh": {"2": 5000.0},
"serial": "2048"}: the order of bytes, an exception code for every request, who does not answer at
all, another count, and the serial number of all of them (object 128 of function 43; 1024 else).

usage: meters.py PORT HOLD RUN [CONTROL]
"""
import asyncio
import json
import os
import struct
import sys

from pymodbus.constants import ExcCodes
from pymodbus.pdu.mei_message import _MCB
from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

INCOMER_WH = 87_600_123_456      # ten megawatts for a year: a float32 kWh would step by 8 kWh
UPS_KWH = 123456.7
INCOMER_STEP_WH = 37
UPS_STEP_KWH = 0.03125           # exact in float32, so that each step shows


def f32(value):
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def i64(value):
    return list(struct.unpack(">HHHH", struct.pack(">q", value)))


def rounded(value):
    return struct.unpack(">f", struct.pack(">f", value))[0]


def bits(value):
    return struct.unpack(">I", struct.pack(">f", value))[0]


def turned(words, order):
    """The words as a meter of another order sends them."""
    if order in ("CDAB", "DCBA"):
        words = words[::-1]
    if order in ("BADC", "DCBA"):
        words = [(word >> 8) | (word & 0xFF) << 8 for word in words]
    return words


class Control:
    """What the test wants to go wrong, read anew at each request."""

    def __init__(self, path):
        self.path = path

    def wanted(self):
        wanted = {}
        if self.path and os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                wanted = json.loads(file.read())
        # One identity for the whole server is all that pymodbus has.
        _MCB.Identity[0x80] = wanted.get("serial", "1024")
        return wanted


class Meter:
    """What the registers show; pymodbus asks at each request."""

    def __init__(self, unit, blocks, control):
        self.shown = {}

        async def show(_function, start, _address, _count, registers, _written):
            wanted = control.wanted()
            if unit in wanted.get("silent", []):
                await asyncio.sleep(3600)
            code = wanted.get("refuses", {}).get(str(unit))
            if code:
                return ExcCodes(code)
            order = wanted.get("order", {}).get(str(unit), "ABCD")
            kwh = wanted.get("kwh", {}).get(str(unit))
            shown = {**self.shown, 72: f32(kwh)} if kwh else self.shown
            for address, words in shown.items():
                for offset, word in enumerate(turned(words, order)):
                    if 0 <= address + offset - start < len(registers):
                        registers[address + offset - start] = word
            return None
        data = [SimData(at, values=[0] * size, datatype=DataType.REGISTERS) for at, size in blocks]
        self.device = SimDevice(unit, simdata=data, action=show)


async def main(port, hold, run, control):
    incomer, ups = Meter(1, [(3000, 300)], control), Meter(2, [(0, 100)], control)
    others = [Meter(unit, [(0, 100)], control) for unit in range(3, 9)]
    wh, kwh = INCOMER_WH, rounded(UPS_KWH)
    incomer.shown = {3027: f32(230.1), 3109: f32(50.02), 3059: f32(133.2), 3203: i64(wh)}
    ups.shown = {0: f32(229.7), 52: f32(112500.0), 70: f32(49.98), 72: f32(kwh)}
    for other in others:
        other.shown = dict(ups.shown)
    devices = [meter.device for meter in [incomer, ups, *others]]
    server = asyncio.create_task(StartAsyncTcpServer(devices, address=("127.0.0.1", port)))
    print(json.dumps({"start_wh": wh, "start_kwh_bits": bits(kwh)}), flush=True)
    await asyncio.sleep(hold)
    for _ in range(run):
        await asyncio.sleep(1)
        wh += INCOMER_STEP_WH
        kwh = rounded(kwh + UPS_STEP_KWH)
        incomer.shown[3203], ups.shown[72] = i64(wh), f32(kwh)
    print(json.dumps({"end_wh": wh, "end_kwh_bits": bits(kwh)}), flush=True)
    await server


if __name__ == "__main__":
    wishes = Control(sys.argv[4] if len(sys.argv) > 4 else "")
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), wishes))
