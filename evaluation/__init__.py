"""Finished episodes become records, records become figures with intervals, figures become a report."""
