"""A third-party SunSpec meter (pymodbus): the common model, a model of others, a meter, the end.

MODEL is 201 to 204 (integers with scale factors) or 211 to 214 (float32); models 204 and 214 are
connected in delta and have no voltage to neutral. Offsets as in the SunSpec Alliance's files.

usage: sunspec.py PORT BASE MODEL
"""
import asyncio
import struct
import sys

from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

NOT_IMPLEMENTED = 0x8000
VOLTS, HERTZ, WATTS, WATT_HOURS = [230.1, 229.7, 231.0], 50.02, 98420, 87_600_120


def text(value, words):
    data = value.encode().ljust(2 * words, b"\0")
    return list(struct.unpack(f">{words}H", data))


def f32(value):
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def u16(value):
    return value & 0xFFFF


def scaled(model):
    body = {n: NOT_IMPLEMENTED for n in range(2, 38)}
    body.update({n: 0 for n in range(38, 107)})
    body[15], body[17], body[22], body[54] = u16(-1), u16(-2), u16(1), u16(1)
    if model != 204:
        for n, volts in enumerate(VOLTS):
            body[8 + n] = round(volts * 10)
    body[16], body[18] = round(HERTZ * 100), WATTS // 10
    body[46], body[47] = divmod(WATT_HOURS // 10, 1 << 16)
    return [model, 105] + [body[n] for n in range(2, 107)]


def floats(model):
    body = {n: float("nan") for n in range(2, 124, 2)}
    if model != 214:
        for n, volts in enumerate(VOLTS):
            body[12 + 2 * n] = volts
    body[26], body[28], body[68] = HERTZ, float(WATTS), float(WATT_HOURS)
    return [model, 124] + [word for n in range(2, 124, 2) for word in f32(body[n])] + [0, 0]


def main(port, base, model):
    common = [1, 66] + text("Ampere", 16) + text("M-203", 16) + text("", 8)
    common += text("1.2.3", 8) + text("SN-1024", 16) + [1, NOT_IMPLEMENTED]
    other = [103, 50] + [7] * 50
    meter = floats(model) if model > 210 else scaled(model)
    words = text("SunS", 2) + common + other + meter + [0xFFFF, 0]
    registers = SimData(base, values=words, datatype=DataType.REGISTERS)
    device = SimDevice(1, simdata=[registers])
    asyncio.run(StartAsyncTcpServer(device, address=("127.0.0.1", port)))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
