#!/bin/sh
# Written by `twiceshy define systemd --into DIR`; run it as root.
set -e
cd "$(dirname "$0")"
cp ./*.service ./*.timer /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now twiceshy-config-freshness.timer twiceshy-container-restarts.timer twiceshy-disk-growth.timer twiceshy-flapping.timer twiceshy-log-rotation.timer twiceshy-monitor-liveness.timer
