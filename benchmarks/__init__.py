"""Side-by-side benchmarks: `benchmarks/run` (speed) and `benchmarks/memory` (memory, disk, time to mount)."""
