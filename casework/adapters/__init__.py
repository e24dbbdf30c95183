"""The doors of casework: stores and senders of notices."""
