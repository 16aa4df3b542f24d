"""The scripted experts, a file a task."""
