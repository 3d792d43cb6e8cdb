"""What the tables say: means over seeds, hypervolumes, oscillation, runtime, and the judged claims."""
