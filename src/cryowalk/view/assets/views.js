const buttons = [["toImage", "zoom3d", "pan3d", "orbitRotation", "tableRotation", "resetCameraDefault3d"]];
for (const place of document.querySelectorAll(".view:not([data-drawn])")) {
  place.dataset.drawn = "yes";
  const view = JSON.parse(place.querySelector("script").textContent);
  const stage = place.querySelector(".stage");
  stage.textContent = "";
  Plotly.newPlot(stage, view.data, view.layout, { responsive: true, displaylogo: false, modeBarButtons: buttons });
}
