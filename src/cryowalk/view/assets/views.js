const buttons = [["toImage", "zoom3d", "pan3d", "orbitRotation", "tableRotation", "resetCameraDefault3d"]];
for (const place of document.querySelectorAll(".view:not([data-drawn])")) {
  place.dataset.drawn = "yes";
  const view = JSON.parse(place.querySelector("script").textContent);
  const stage = place.querySelector(".stage");
  stage.textContent = "";
  Plotly.newPlot(stage, view.data, view.layout, { responsive: true, displaylogo: false, modeBarButtons: buttons })
    .then(() => Plotly.toImage(stage, { format: "png", width: 900, height: 540 }))
    .then((address) => {
      const still = document.createElement("img"); // paper shows this one: browsers print WebGL as an empty frame
      still.className = "still";
      still.hidden = true;
      still.alt = "";
      still.src = address;
      stage.after(still);
    });
}
