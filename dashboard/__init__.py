"""What people see: numbers, alarms and pictures made from the store. Imports storage only."""
