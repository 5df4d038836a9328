"""The provider simulator: six wire formats on one loopback HTTP server.

README.md beside this file is the reference of its options, directives and
control API.  The layers, each knowing only those above it:

    limits latency prose directives faults    pure: no clock, no socket
    formats/                                  one file per provider's wire format
    settings script ledger                    what was configured, what happened
    engine                                    one request in, one plan of an answer out
    server control main                       aiohttp, the control API, the process
"""

VERSION = "0.1.0"
