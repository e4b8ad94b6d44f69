"""A peer on libtorrent: python3 libtorrent_peer.py TORRENT FOLDER ADDRESS

It is ready to begin when it says "up", begins at a line on its input, says
"complete" when it has the whole image, and seeds until the input ends.
"""
import sys
import threading

import libtorrent as lt

torrent, folder, address = sys.argv[1:]
session = lt.session({
    "listen_interfaces": address + ":6881",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "out_enc_policy": int(lt.enc_policy.disabled), "in_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,
    "unchoke_slots_limit": -1, "choking_algorithm": int(lt.choking_algorithm_t.fixed_slots_choker),
    "connections_limit": 500, "connection_speed": 500, "torrent_connect_boost": 100,
    "min_reconnect_time": 1, "mixed_mode_algorithm": int(lt.bandwidth_mixed_algo_t.prefer_tcp),
    "rate_limit_ip_overhead": False, "auto_sequential": False, "strict_end_game_mode": True,
    "request_queue_time": 1, "max_out_request_queue": 64, "suggest_mode": 0,
    "min_announce_interval": 1, "tracker_backoff": 1,
    "alert_mask": int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification),
})
print("up", flush=True)
sys.stdin.readline()
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.storage_mode = lt.storage_mode_t.storage_mode_sparse
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
handle = session.add_torrent(params)


def until_end():
    sys.stdin.read()
    ended.set()


ended = threading.Event()
threading.Thread(target=until_end, daemon=True).start()
said = False
while not ended.is_set():
    session.wait_for_alert(50)
    session.pop_alerts()
    if not said and handle.status().is_seeding:
        print("complete", flush=True)
        said = True
