"""CPU engines: guest code on the host, system calls through the C dispatcher (csrc/dispatch.h)."""
