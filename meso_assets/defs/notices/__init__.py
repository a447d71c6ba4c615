"""Notices: what a person who is not there is told of failures and recoveries, and once a day of everything."""
