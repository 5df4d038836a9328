"""Kills at random instants, and the proof from three books that nothing was lost and nothing paid twice."""
