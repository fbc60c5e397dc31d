"""What a person sees and types beside a training: the live view, status, stop, restart-worker, doctor, logs.

It reads what `storage` holds of a run and asks the run's main process for things by way of files; it may
import `storage` and what lies below it, and never takes part in training.
"""
