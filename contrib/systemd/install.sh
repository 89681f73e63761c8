#!/bin/sh
# Written by `twiceshy define systemd --into DIR`; run it in DIR, as root.
set -e
cp ./*.service ./*.timer /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now twiceshy-config-freshness.timer twiceshy-container-restarts.timer twiceshy-disk-growth.timer twiceshy-flapping.timer twiceshy-log-rotation.timer twiceshy-monitor-liveness.timer
