#!/usr/bin/python3
"""Carries frames between two interfaces and holds each for a while: delay_frames.py A B MILLISECONDS. Where the kernel has no sch_netem.

Frames are read and written with their virtio header, so that checksums and segmentation left to the "hardware" stay the receiver's affair. One fixed delay both ways:
the order of arrival is the order in which they are due."""
import collections
import select
import socket
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE = 3, 263, 15, 23, 33
LONGEST = 10 + 14 + 65536


def opened(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    port.bind((name, ETH_P_ALL))
    port.setblocking(False)
    return port


def carry(a, b, hold_s):
    other, waiting = {a: b, b: a}, collections.deque()
    while True:
        ready, _, _ = select.select([a, b], [], [], max(0.0, waiting[0][0] - time.monotonic()) if waiting else None)
        due = time.monotonic() + hold_s
        for port in ready:
            try:
                while True:
                    waiting.append((due, other[port], port.recv(LONGEST)))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, out, frame = waiting.popleft()
            try:
                out.send(frame)
            except OSError:
                pass  # lost, as frames are


if __name__ == "__main__":
    ends = opened(sys.argv[1]), opened(sys.argv[2])
    print("carrying", flush=True)
    carry(*ends, float(sys.argv[3]) / 1000)
