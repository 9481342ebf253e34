"""The fixtures of all tests of the Hub."""

import hub_runs


state = hub_runs.state
finished = hub_runs.finished
run = hub_runs.run
server = hub_runs.server
