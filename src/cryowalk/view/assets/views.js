for (const place of document.querySelectorAll(".view")) {
  const view = JSON.parse(place.querySelector("script").textContent);
  const stage = place.querySelector(".stage");
  stage.textContent = "";
  Plotly.newPlot(stage, view.data, view.layout, { responsive: true, displaylogo: false });
}
