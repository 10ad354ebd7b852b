for (const chooser of document.querySelectorAll(".chooser")) {
  const tiles = [...chooser.querySelectorAll(".tile")];
  const first = tiles.map((tile) => tile.getAttribute("aria-pressed"));
  const line = chooser.querySelector(".command");
  const count = chooser.querySelector(".count");
  const tell = () => {
    const chosen = tiles.filter((tile) => tile.getAttribute("aria-pressed") === "true").map((tile) => Number(tile.dataset.number));
    chosen.sort((one, other) => one - other);
    line.textContent = chosen.length ? chooser.dataset.command.replace("{chosen}", chosen.join(",")) : "# no class is chosen";
    count.textContent = `${chosen.length} of ${tiles.length} chosen`;
  };
  const choose = (tile, isChosen) => tile.setAttribute("aria-pressed", isChosen ? "true" : "false");
  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      choose(tile, tile.getAttribute("aria-pressed") !== "true");
      tell();
    });
  }
  for (const button of chooser.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => {
      tiles.forEach((tile, place) => choose(tile, button.dataset.choose === "all" || (button.dataset.choose === "first" && first[place] === "true")));
      tell();
    });
  }
  line.addEventListener("click", () => getSelection().selectAllChildren(line)); // one click, then copy
  tell();
}
