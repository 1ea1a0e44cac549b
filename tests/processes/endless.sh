#!/bin/sh
# Stands where a compiler should: reads nothing, and talks without end.
exec yes
