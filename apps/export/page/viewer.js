/* The script of viewer.html: shows the GLB that stands in the page, with its morph targets on sliders.
 *
 * The page is opened from disk, without a network: the model is decoded from base64 text, and esbuild bundles this
 * file with three.js into one classic script (see package.json). When the model is shown, <html> has data-ready; when
 * it cannot be, data-error says why. The address may name weights: viewer.html#jawOpen=0.6,eyeBlinkLeft=1
 */

/*! three.js, https://threejs.org
 * The MIT License
 * Copyright (c) 2010-2026 three.js authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
 * rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
 * permit persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
 * Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */

import {
  Box3,
  DirectionalLight,
  HemisphereLight,
  MeshStandardMaterial,
  PerspectiveCamera,
  Scene,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";

const BACKGROUND = 0x1d1f23;
const CLAY = 0xb9b2aa;
const FIELD_OF_VIEW = 24; // degrees, vertical: that of a portrait lens
const MARGIN = 1.2; // of the view around the head
const LIGHT_ELEVATION = 25; // degrees above the horizon

const element = (id) => document.getElementById(id);

/** A view of the scene that draws when something has changed, not all the time. */
class Stage {
  constructor(canvas) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true });
    this.renderer.setClearColor(BACKGROUND);
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW);
    this.lamp = new DirectionalLight(0xfff6ec, 2.2);
    this.scene.add(new HemisphereLight(0xffffff, 0x8a847a, 2.0), this.lamp, this.lamp.target);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => this.draw());
    this.waiting = false;
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.renderer.domElement.parentElement;
    this.renderer.setPixelRatio(window.devicePixelRatio);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / Math.max(height, 1);
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  /** Draw before the next frame of the screen, once however often this is asked. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.waiting = false;
    this.renderer.render(this.scene, this.camera);
  }

  /** Add an object with these meshes, and look at it from the front. */
  show(object, meshes) {
    this.scene.add(object);
    object.updateMatrixWorld(true);
    const box = new Box3(); // of the meshes at rest: three.js's own would hold every morph target at its strongest
    for (const { geometry, matrixWorld } of meshes) {
      box.union(new Box3().setFromBufferAttribute(geometry.attributes.position).applyMatrix4(matrixWorld));
    }
    const [center, size] = [box.getCenter(new Vector3()), box.getSize(new Vector3())];
    const tangent = Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    const widest = Math.max(size.x, size.z) / this.camera.aspect;
    const distance = (MARGIN * Math.max(size.y, widest)) / (2 * tangent) + size.z / 2;
    this.reach = size.length();
    this.lamp.target.position.copy(center);
    this.camera.near = distance / 100;
    this.camera.far = distance * 10;
    this.camera.updateProjectionMatrix();
    this.camera.position.copy(center).add(new Vector3(0, 0, distance));
    this.controls.target.copy(center);
    this.controls.minDistance = 0.6 * this.reach;
    this.controls.maxDistance = 3 * distance;
    this.controls.update();
  }

  /** Move the lamp to so many degrees from the front, positive towards the right of the picture. */
  light(azimuth) {
    const around = (azimuth * Math.PI) / 180;
    const up = (LIGHT_ELEVATION * Math.PI) / 180;
    const direction = new Vector3(Math.sin(around) * Math.cos(up), Math.sin(up), Math.cos(around) * Math.cos(up));
    this.lamp.position.copy(this.lamp.target.position).addScaledVector(direction, 10 * this.reach);
    this.draw();
  }
}

/** The weights of the morph targets, by name, whichever of the meshes have them. */
class Expression {
  constructor(meshes) {
    this.meshes = meshes.filter((mesh) => mesh.morphTargetDictionary);
    this.fitted = {};
    for (const mesh of this.meshes) {
      for (const [name, index] of Object.entries(mesh.morphTargetDictionary)) {
        this.fitted[name] = mesh.morphTargetInfluences[index];
      }
    }
  }

  /** Names, the strongest in the fit first. */
  get names() {
    const strength = (name) => Math.abs(this.fitted[name]);
    return Object.keys(this.fitted).sort((a, b) => strength(b) - strength(a) || a.localeCompare(b));
  }

  set(name, weight) {
    for (const mesh of this.meshes) {
      const index = mesh.morphTargetDictionary[name];
      if (index !== undefined) mesh.morphTargetInfluences[index] = weight;
    }
  }
}

/** Make a slider for each target; return what sets them all to the weights of an object, 0 where it has none. */
function addSliders(expression, changed) {
  const rows = expression.names.map((name) => {
    const row = element("slider").content.firstElementChild.cloneNode(true);
    const [label, slider, value] = row.children;
    const reach = Math.max(1, 1.5 * Math.abs(expression.fitted[name]));
    label.textContent = name;
    slider.min = expression.fitted[name] < 0 ? -reach : 0;
    slider.max = reach;
    const set = (weight) => {
      slider.value = weight;
      value.textContent = Number(weight).toFixed(2);
      expression.set(name, Number(weight));
    };
    slider.addEventListener("input", () => {
      set(slider.value);
      changed();
    });
    element("sliders").append(row);
    return { name, row, set };
  });
  element("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const { name, row } of rows) row.hidden = !name.toLowerCase().includes(wanted);
  });
  element("expression").hidden = rows.length === 0;
  return (weights) => {
    for (const { name, set } of rows) set(weights[name] ?? 0);
    changed();
  };
}

/** The weights that an address names: jawOpen=0.6,eyeBlinkLeft=1 */
function weightsOf(address) {
  const pairs = address.replace(/^#/, "").split(",").map((pair) => pair.split("="));
  return Object.fromEntries(pairs.filter(([name, weight]) => name && isFinite(weight)).map(([n, w]) => [n, Number(w)]));
}

/** Let the boxes switch the texture and the triangles' edges. */
function addSwitches(meshes, changed) {
  const clay = new MeshStandardMaterial({ color: CLAY, roughness: 0.75 });
  const own = new Map(meshes.map((mesh) => [mesh, mesh.material]));
  const update = () => {
    for (const mesh of meshes) {
      mesh.material = element("texture").checked ? own.get(mesh) : clay;
      mesh.material.wireframe = element("wireframe").checked;
    }
    changed();
  };
  element("texture").addEventListener("change", update);
  element("wireframe").addEventListener("change", update);
  update();
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
}

async function main() {
  const stage = new Stage(element("canvas"));
  const gltf = await new GLTFLoader().parseAsync(bytesOf(element("model").textContent.trim()), "");
  const meshes = [];
  gltf.scene.traverse((node) => {
    if (!node.isMesh) return;
    node.frustumCulled = false; // the box of a mesh does not know its morph targets
    meshes.push(node);
  });
  const draw = () => stage.draw();
  const expression = new Expression(meshes);
  const show = addSliders(expression, draw);
  addSwitches(meshes, draw);
  element("neutral").addEventListener("click", () => show({}));
  element("fitted").addEventListener("click", () => show(expression.fitted));
  element("licence").textContent = gltf.asset.copyright ?? "";
  stage.show(gltf.scene, meshes);
  const light = element("light");
  light.addEventListener("input", () => stage.light(Number(light.value)));
  stage.light(Number(light.value));
  const follow = () => show({ ...expression.fitted, ...weightsOf(decodeURIComponent(location.hash)) });
  window.addEventListener("hashchange", follow);
  follow();
  stage.drawNow();
  document.documentElement.dataset.ready = "true";
}

main().catch((problem) => {
  document.documentElement.dataset.error = String(problem);
  element("message").textContent = `This face cannot be shown: ${problem.message ?? problem}`;
});
