"""What is measured for the report: plain functions of arrays, each with its definition and source."""
