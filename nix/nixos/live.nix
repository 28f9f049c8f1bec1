# What firnctl changes in a container that runs: a test compares it with the Rust code.
[
  "path"
  "storePaths"
  "flake"
  "memory"
  "cpus"
  "pids"
  "forwardPorts"
  "environment"
  "sshKeys"
  "autoStart"
  "restartIfChanged"
  "dependsOn"
  "check"
  "timeoutStartSec"
  "timeoutStopSec"
]
