"""What integration tests and benchmarks start: Proctor, a private Postgres, the simulator."""
