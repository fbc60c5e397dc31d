"""`a3c play`, driven through a real pseudo terminal, and its parts."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import psutil
import pygame
import pytest

from a3c.envs import make_environment
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec
from evaluators.showing.buttons import keymap
from evaluators.showing.game_window import GameWindow
from evaluators.showing.player import play_games
from evaluators.showing.stage import _REDRAW_S, open_game
from evaluators.showing.terminal import buttons_of, half_blocks, only_colours, shrink, with_player
from tests.evaluators.scoring.test_score import make_run
from tests.terminal import Screen
from tests.warm import Start, WarmProcess, run_to_the_end

ROOT = Path(__file__).parents[3]
UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"


class Player:
    """`a3c play` in a process of its own, and its terminal from the other side."""

    def __init__(self, cwd: Path, *flags: str, size=(24, 80), env: dict[str, str] | None = None):
        self.side, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.inner, self.before = inner, termios.tcgetattr(inner)
        own = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "", **(env or {})}
        environ, terminal = {**os.environ, **own}, os.ttyname(inner)
        start = Start(("-m", "a3c", "play", *flags), str(cwd), environ, terminal, terminal, terminal)
        self.process = WarmProcess(start)
        self.seen = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, pattern: str, timeout_s: float = 300.0) -> str:
        """Waits until what came since the last call matches, and returns that."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            ready, _, _ = select.select([self.side], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waited for {pattern!r}; saw {self.seen[-2000:]!r}"
            try:
                self.seen += self.decoder.decode(os.read(self.side, 65536))
            except OSError:
                raise AssertionError(f"it ended before {pattern!r}: {self.seen[-2000:]!r}") from None
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found

    def press(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def end(self) -> int:
        return self.process.wait(300)

    def restored(self) -> bool:
        """Whether the terminal is as it was, apart from what only the kernel sees."""
        return termios.tcgetattr(self.inner) == self.before

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait(300)
        os.close(self.side)
        os.close(self.inner)


LEVEL = ("--env-kwargs", "board=SFFF/FHFH/FFFH/HFFG", "p_mistake=0")
LEFT_SCREEN = r"\x1b\[\?1049l"


def test_a_level_is_played_to_the_goal_with_arrows_and_letters(tmp_path):
    with Player(tmp_path, *LEVEL, "--games", "1") as player:
        first = player.read("q quits")
        assert "FrozenLakeLevels-v0   game 1   score 0   step 0   4 holes, slips 0%" in first
        assert "\x1b[1;97;41m @ " in first
        player.press(DOWN + b"s")
        player.read("step 1.*step 2")
        for key in (RIGHT, b"d", b"x", b"\x1b[5~", DOWN):  # two of them mean nothing
            player.press(key)
        player.read("step 5")
        player.press(b"\x1bOC")
        player.read("score 1   step 6.*game over: press a key")
        player.press(b"zzzzz")
        deadline = time.monotonic() + 20
        while player.process.poll() is None and time.monotonic() < deadline:
            player.press(b" ")
            select.select([], [], [], 0.2)
        assert player.end() == 0
        player.read(LEFT_SCREEN + ".*FrozenLakeLevels-v0: 1 game, score 1")
        assert player.restored()


@pytest.mark.parametrize(("env", "letters"), [("FrozenLake-v1", "HFFG"), ("Taxi-v3", "|R: | : :G|")])
def test_toy_text_is_letters(env, letters, tmp_path):
    with Player(tmp_path, "--env", env, "--seed", "1") as player:
        shown = player.read("q quits")
        assert "▀" not in shown
        assert letters in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
        player.press(DOWN)
        player.read("step 1")
        player.press(b"q")
        player.read("no game was finished")
        assert player.end() == 0
        assert player.restored()


@pytest.mark.parametrize(
    ("colorterm", "colour"), [("", r"\x1b\[38;5;\d+m"), ("truecolor", r"\x1b\[48;2;\d+;\d+;\d+m")]
)
def test_atari_is_coloured_half_blocks(colorterm, colour, tmp_path):
    flags = ("--env", "BreakoutNoFrameskip-v4", "--seed", "1")
    with Player(tmp_path, *flags, env={"COLORTERM": colorterm}) as player:
        shown = player.read("q quits")
        assert "lives 5" in shown
        assert len(re.findall(colour, shown)) > 30
        rows = re.findall(r"\x1b\[(\d+);1H([^\n]*?)\x1b\[0m\x1b\[K", shown)  # all but the last, the help
        assert [int(number) for number, _ in rows] == list(range(1, 24))
        assert {line.count("▀") for _, line in rows[1:]} == {33}  # 22 rows of 2 pixels, at 160 to 210
        player.press(b" ")
        player.press(LEFT)
        player.read("step 20")
        player.press(b"q")
        assert player.end() == 0
        assert player.restored()


def test_a_new_size_of_the_terminal_fits_at_once(tmp_path):
    with Player(tmp_path, "--env", "PongNoFrameskip-v4") as player:
        player.read("q quits")
        fcntl.ioctl(player.inner, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
        player.read(r"\x1b\[2J.*\x1b\[12;1H")
        player.press(b"q")
        assert player.end() == 0


@pytest.mark.parametrize(
    ("how", "code"),
    [(b"\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (b"\x04", None)],
    ids=["ctrl-c", "SIGTERM", "SIGHUP", "ctrl-d is no button"],
)
def test_the_terminal_is_restored_however_it_ends(how, code, tmp_path):
    with Player(tmp_path, *LEVEL) as player:
        player.read("q quits")
        assert not player.restored()
        if isinstance(how, bytes):
            player.press(how)
        else:
            player.process.send_signal(how)
        if code is None:
            player.press(b"q")
            code = 0
        assert player.end() == code
        player.read(LEFT_SCREEN)
        assert player.restored()


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(tmp_path, wait_until):
    with Player(tmp_path, *LEVEL) as player:
        player.read("q quits")
        player.process.send_signal(signal.SIGTSTP)
        player.read(LEFT_SCREEN)
        wait_until(lambda: psutil.Process(player.process.pid).status() == psutil.STATUS_STOPPED)
        assert player.restored()
        player.process.send_signal(signal.SIGCONT)
        player.read(r"\x1b\[\?1049h.*q quits")
        player.press(b"q")
        assert player.end() == 0


def test_a_lost_connection_ends_it(tmp_path):
    player = Player(tmp_path, "--env", "PongNoFrameskip-v4")
    player.read("q quits")
    os.close(player.inner)
    os.close(player.side)
    assert player.end() in (129, -signal.SIGHUP)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "needs a terminal"),
        (["--env-kwargs", "x=1", "--watch"], "goes with playing yourself"),
        (["--greedy"], "goes with --watch"),
        (["--fps", "0"], "not above 0"),
        (["--window"], "--window"),
    ],
)
def test_mistakes_take_one_line(flags, words, tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SDL_VIDEODRIVER": "x11", "DISPLAY": ""}
    result = run_to_the_end("-m", "a3c", "play", *flags, cwd=tmp_path, environ=environ)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------------


def test_f83_of_what_an_environment_draws_only_colours_reach_the_terminal():
    assert only_colours("\x1b[41mS\x1b[0mF") == "\x1b[41mS\x1b[0mF"
    assert only_colours("S\x1bc\x07\x1b[2J") == "S\\x1bc\\x07\\x1b[2J"


def test_a_small_thing_survives_shrinking():
    for background, thing in (
        ((0, 0, 0), (236, 236, 236)),
        ((255, 255, 255), (0, 0, 0)),
        ((144, 72, 17), (236, 236, 236)),
    ):
        picture = np.full((210, 160, 3), background, np.uint8)
        picture[100:104, 77:79] = thing  # Breakout's and Pong's balls are of 2 x 4
        small = shrink(picture, (19, 26))
        assert small.shape == (26, 19, 3)
        assert 1 <= (small == thing).all(-1).sum() <= 4
        assert (small[0, 0] == background).all()
        shown = "".join(half_blocks(picture, 60, 13, deep=True))
        assert ";".join(map(str, thing)) in shown


def test_the_player_of_a_board_is_a_sign():
    assert with_player("S\x1b[41mF\x1b[0mFF") == "S\x1b[41m@\x1b[0mFF"
    assert with_player("|\x1b[35mR\x1b[0m: |\x1b[43m \x1b[0m: |") == "|\x1b[35mR\x1b[0m: |\x1b[43m@\x1b[0m: |"
    assert with_player("\x1b[1;97;41m @ \x1b[0m") == "\x1b[1;97;41m @ \x1b[0m"


@pytest.mark.parametrize(
    "flags", [LEVEL, ("--env", "FrozenLake-v1", "--env-kwargs", "is_slippery=false"), ("--env", "Taxi-v3")]
)
def test_at_60_columns_and_15_lines_a_board_is_whole(flags, tmp_path):
    with Screen(60, 15) as screen:
        process = screen.start("-m", "a3c", "play", *flags, "--seed", "1", cwd=tmp_path)
        screen.wait_for(lambda: "q quits" in screen.text)
        assert "step 0" in screen.lines[0]
        assert screen.text.count("@") == 1
        screen.press(DOWN)
        screen.wait_for(lambda: "step 1" in screen.text)
        screen.resize(50, 12)
        screen.press(DOWN)
        screen.wait_for(
            lambda: "step 2" in screen.text and screen.text.count("@") == screen.text.count("q quits") == 1
        )
        screen.press(b"q")
        assert process.wait(300) == 0


def test_at_60_columns_and_15_lines_the_ball_is_seen(tmp_path):
    with Screen(60, 15) as screen:
        flags = ("--env", "BreakoutNoFrameskip-v4", "--seed", "1")
        process = screen.start("-m", "a3c", "play", *flags, cwd=tmp_path, env={"COLORTERM": "truecolor"})
        screen.wait_for(lambda: "q quits" in screen.text)
        ball = "c84848"

        def seen():
            """Its colour between the bricks and the paddle, where nothing else has it."""
            columns = range(screen.lines[8].count("▀"))
            return any(ball in screen.colour(line, column) for line in (8, 9, 10, 11) for column in columns)

        screen.press(b" ")  # serves it
        screen.wait_for(seen)
        screen.press(b"q")
        assert process.wait(300) == 0


def test_keys_are_read_as_terminals_send_them():
    assert buttons_of(b"\x1b[Aw\x1bOD d\x1b[5~Q\x00") == ["up", "up", "left", "fire", "right", "~", "quit"]
    assert buttons_of(b"\x1b") == []


def test_buttons_held_together_are_one_action():
    env = make_environment(EnvConfig(env="ALE/Pitfall-v5"), 1)
    names = env.spec.action_meanings
    keys = keymap(env.spec)
    assert names[keys.action({"up", "right", "fire"})] == "UPRIGHTFIRE"
    assert names[keys.action({"x"})] == "NOOP"
    assert not keys.waits
    breakout = keymap(make_environment(EnvConfig(env="BreakoutNoFrameskip-v4"), 1).spec)
    assert breakout.action({"left", "fire"}) == 1  # FIRE; there is no LEFTFIRE
    assert breakout.action({"left", "up"}) == 3


def test_games_without_names_have_digits():
    keys = keymap(EnvSpec("Some-v0", (4,), "float32", num_actions=3))
    assert [keys.action({str(digit)}) for digit in range(4)] == [0, 1, 2, None]
    assert keys.waits


def test_half_blocks_show_the_picture():
    picture = np.zeros((4, 3, 3), np.uint8)
    picture[0], picture[3] = (255, 0, 0), (1, 2, 3)
    top, bottom = half_blocks(picture, 3, 2, deep=True)
    assert top == "\x1b[38;2;255;0;0m\x1b[48;2;0;0;0m▀▀▀"
    assert bottom == "\x1b[38;2;0;0;0m\x1b[48;2;1;2;3m▀▀▀"
    (line,) = half_blocks(np.full((2, 1, 3), (255, 135, 0), np.uint8), 1, 1, deep=False)
    assert line == "\x1b[38;5;208m\x1b[48;5;208m▀"
    assert half_blocks(np.full((2, 1, 3), 128, np.uint8), 1, 1, deep=False)[0].startswith("\x1b[38;5;244m")
    for columns, rows in ((80, 22), (20, 50), (1, 1)):
        lines = half_blocks(np.zeros((210, 160, 3), np.uint8), columns, rows, deep=True)
        assert len(lines) <= rows
        assert all(line.count("▀") <= columns for line in lines)


def test_an_agent_is_watched_in_the_terminal(tmp_path):
    make_run(tmp_path / "run", ("ckpt", 100), env="FrozenLakeLevels-v0")
    with Player(tmp_path, "--watch", "run", "--fps", "200", "--games", "2", "--seed", "1") as player:
        shown = player.read("the agent plays, q quits")
        assert "FrozenLakeLevels-v0   game 1" in shown
        player.read(r"game 2.*FrozenLakeLevels-v0: 2 games, score")
        assert player.end() == 0
        assert player.restored()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_it_works_inside_tmux(tmp_path, wait_until):
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    command = f"PYTHONPATH={ROOT} exec {sys.executable} -m a3c play {LEVEL[0]} {LEVEL[1]} {LEVEL[2]}"

    def screen():
        result = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=False)
        return result.stdout

    try:
        start = ["new-session", "-d", "-x", "90", "-y", "20", "sh"]
        subprocess.run([*tmux, *start], check=True, cwd=tmp_path)
        subprocess.run([*tmux, "set", "-g", "remain-on-exit", "on"], check=True)
        subprocess.run([*tmux, "send-keys", command, "Enter"], check=True)
        wait_until(lambda: "arrows move, q quits" in screen())
        subprocess.run([*tmux, "send-keys", "Down"], check=True)
        wait_until(lambda: "step 1" in screen())
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        wait_until(lambda: "no game was finished" in screen())
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


def post(kind, key):
    pygame.event.post(pygame.event.Event(kind, key=key))


def test_a_window_knows_what_is_held():
    picture = np.zeros((210, 160, 3), np.uint8)
    with GameWindow() as window:
        window.show("Pong   score 3", picture, "q quits")
        assert pygame.display.get_caption()[0] == "Pong   score 3  -  q quits"
        assert pygame.display.get_window_size() == (320, 420)
        pygame.event.clear()
        assert window.next_button(0.01) == ""
        post(pygame.KEYDOWN, pygame.K_LEFT)
        post(pygame.KEYDOWN, pygame.K_SPACE)
        post(pygame.KEYUP, pygame.K_SPACE)
        assert [window.next_button(0.01) for _ in range(3)] == ["left", "fire", ""]
        assert window.held() == {"left", "fire"}  # a tap is not missed
        assert window.held() == {"left"}
        post(pygame.KEYUP, pygame.K_LEFT)
        post(pygame.QUIT, 0)
        assert window.next_button(None) == "quit"
        assert window.held() == set()


def test_a_level_is_played_in_a_window(monkeypatch):
    config = EnvConfig(env="FrozenLakeLevels-v0", env_kwargs={"board": "SFFF/FHFH/FFFH/HFFG", "p_mistake": 0})
    env = open_game(config, 1, text=False)
    keys = [pygame.K_DOWN, pygame.K_s, pygame.K_RIGHT, pygame.K_d, pygame.K_DOWN, pygame.K_2, pygame.K_q]
    with GameWindow() as window:
        show, next_button, helps = window.show, window.next_button, []

        def show_and_press(status, game, help):
            show(status, game, help)
            helps.append(help)
            if "game over" not in help:
                post(pygame.KEYDOWN, keys.pop(0))

        def press_when_it_waits(timeout_s):
            if timeout_s == _REDRAW_S and "game over" in helps[-1]:  # and keys are no longer overlooked
                post(pygame.KEYDOWN, keys.pop())
            return next_button(timeout_s)

        monkeypatch.setattr(window, "show", show_and_press)
        monkeypatch.setattr(window, "next_button", press_when_it_waits)
        assert play_games(env, window, None, None) == [1.0]
        assert not keys
