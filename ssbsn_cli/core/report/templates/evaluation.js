"use strict";
{
  const $ = (id) => document.getElementById(id);
  const images = JSON.parse($("images").textContent);
  const viewer = $("viewer"), stage = $("stage"), divider = $("divider"), canvas = $("canvas");
  const views = { left: $("left-view"), right: $("right-view") };
  const choices = { left: $("left"), right: $("right") };
  let current = 0, place = 50, opener = null;

  function move(percent) {
    place = Math.min(100, Math.max(0, percent));
    divider.style.left = `${place}%`;
    divider.setAttribute("aria-valuenow", Math.round(place));
    views.left.style.clipPath = `inset(0 ${100 - place}% 0 0)`;
  }

  function pixels(image) {
    const copy = document.createElement("canvas");
    copy.width = image.naturalWidth;
    copy.height = image.naturalHeight;
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, copy.width, copy.height);
  }

  function drawDifference() {
    const shown = $("difference").checked;
    canvas.hidden = !shown;
    divider.hidden = shown;
    if (!shown || !views.left.naturalWidth || !views.right.naturalWidth) return;
    const result = pixels(views.left), other = pixels(views.right).data;
    const factor = Number($("factor").value);
    for (let i = 0; i < other.length; i++)
      if (i % 4 !== 3) result.data[i] = factor * Math.abs(result.data[i] - other[i]);
    canvas.width = result.width;
    canvas.height = result.height;
    canvas.getContext("2d", { willReadFrequently: true }).putImageData(result, 0, 0);
  }

  function resize() {
    const zoom = Number($("zoom").value);
    const width = views.right.naturalWidth, height = views.right.naturalHeight;
    for (const each of [views.left, views.right, canvas]) {
      each.style.width = `${width * zoom}px`;
      each.style.height = `${height * zoom}px`;
    }
    drawDifference();
  }

  async function update() {
    const image = images[current];
    for (const side of ["left", "right"]) {
      const view = image.views[choices[side].selectedIndex];
      views[side].src = view.picture;
      views[side].alt = `${image.name}, ${view.title}`;
    }
    $("name").textContent = image.name;
    $("scores").textContent = ["left", "right"]
      .map((side) => image.views[choices[side].selectedIndex])
      .map((view) => view.title + (view.score ? `: ${view.score}` : ""))
      .join("  |  ");
    await Promise.all(Object.values(views).map((view) => view.decode().catch(() => {})));
    resize();
  }

  function show(number) {
    current = (number + images.length) % images.length;
    const kept = { left: choices.left.value, right: choices.right.value };
    const titles = images[current].views.map((view) => view.title);
    for (const side of ["left", "right"]) {
      choices[side].replaceChildren(...titles.map((title) => new Option(title, title)));
      const wanted = titles.indexOf(kept[side]);
      const first = side === "left" ? 0 : Math.min(1, titles.length - 1);
      choices[side].selectedIndex = wanted >= 0 ? wanted : first;
    }
    update();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (!button) return;
    opener = button;
    viewer.showModal();
    if (window.innerWidth > 900) $("zoom").value = "2";
    show(Number(button.dataset.image));
    move(50);
    divider.focus();
  });
  viewer.addEventListener("close", () => opener && opener.focus());
  $("close").addEventListener("click", () => viewer.close());
  $("previous").addEventListener("click", () => show(current - 1));
  $("next").addEventListener("click", () => show(current + 1));
  choices.left.addEventListener("change", update);
  choices.right.addEventListener("change", update);
  $("difference").addEventListener("change", drawDifference);
  $("factor").addEventListener("input", drawDifference);
  $("zoom").addEventListener("change", resize);

  function drag(event) {
    const box = stage.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  }
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });

  // The viewer itself has no focus while the divider is hidden.
  document.addEventListener("keydown", (event) => {
    if (!viewer.open || event.ctrlKey || event.altKey || event.metaKey) return;
    const chooses = ["SELECT", "INPUT"].includes(event.target.tagName);
    const step = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => move(place - step),
      ArrowRight: () => move(place + step),
      Home: () => move(0),
      End: () => move(100),
      ArrowUp: () => show(current - 1),
      ArrowDown: () => show(current + 1),
      k: () => show(current - 1),
      j: () => show(current + 1),
      d: () => $("difference").click(),
    };
    let action = actions[event.key];
    if (/^[1-9]$/.test(event.key) && event.key <= choices.right.length) {
      action = () => {
        choices.right.selectedIndex = event.key - 1;
        update();
      };
    }
    if (!action || (chooses && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    action();
  });
}
