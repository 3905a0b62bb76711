"""A TEE at the other end of a terminal: the agent, a C program beside it (csrc/), and what both say to each other.

`lines.py`: lines of text with checksums; `stream.py`: bytes in order over lines that get lost; `messages.py`: what
is asked for and answered; `connection.py`: the thread that speaks; `build.py` compiles the agent. It serves
`normal_world.client.agent`; how the agent gets onto a board and is started there, `boards` knows.
"""
