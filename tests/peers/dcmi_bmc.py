"""A third-party BMC (pyghmi) that speaks RMCP+ and DCMI's Get Power Reading.

pyghmi knows sessions and commands but no DCMI: the reply to that one command is made here by the
specification (group 0xDC; now, minimum, maximum, average in watts; time; period in ms; state). The
power is what the file WATTS says at that moment; a minus before it says that measuring is not active.

usage: dcmi_bmc.py PORT PASSWORD WATTS
"""
import struct
import sys
import time

from pyghmi.ipmi.bmc import Bmc

NETFN_GROUP, GET_POWER_READING, GROUP_DCMI = 0x2C, 0x02, 0xDC
ACTIVE = 0x40


class Server(Bmc):
    def __init__(self, watts, **more):
        self.watts = watts
        super().__init__(**more)

    def get_power_state(self):
        return 1

    def is_active(self):
        return False

    def handle_raw_request(self, request, session):
        data = bytearray(request["data"])
        asked = (request["netfn"], request["command"], data[0] if data else None)
        if asked != (NETFN_GROUP, GET_POWER_READING, GROUP_DCMI):
            return super().handle_raw_request(request, session)
        with open(self.watts, encoding="utf-8") as file:
            watts = int(file.read())
        state = ACTIVE if watts >= 0 else 0
        now = int(time.time())
        reply = struct.pack("<BHHHHIIB", GROUP_DCMI, abs(watts), 2900, 9944, 3300, now, 1000, state)
        return session.send_ipmi_response(data=bytearray(reply))


if __name__ == "__main__":
    port, password, shown = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    Server(shown, authdata={"admin": password}, port=port, address="127.0.0.1").listen()
